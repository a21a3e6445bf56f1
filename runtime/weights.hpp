#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "core/storage_type.hpp"
#include "trace/tensor.hpp"

namespace evictlab::runtime {

using trace::Index;

/// The stored row that each row of a matrix is: row r of sizes [a, b, c], read as the digits (i, j, k) of r in that
/// mixed radix, is the stored row first + i strides[0] + j strides[1] + k strides[2].
struct RowOrder {
  Index first = 0;
  std::array<Index, 3> sizes = {1, 1, 1};
  std::array<Index, 3> strides = {0, 0, 1};

  Index rows() const { return sizes[0] * sizes[1] * sizes[2]; }
  Index stored_row(Index row) const {
    const Index inner = row % sizes[2];
    const Index middle = row / sizes[2] % sizes[1];
    const Index outer = row / sizes[2] / sizes[1];
    return first + outer * strides[0] + middle * strides[1] + inner * strides[2];
  }
  /// How many rows from `row` on are stored one after the other.
  Index run(Index row) const { return strides[2] == 1 ? sizes[2] - row % sizes[2] : 1; }
};

/// `count` blocks of `block` rows, of which each begins `stride` rows after the one before it and the first at row
/// `first`: one of several matrices that are interleaved in another.
RowOrder interleaved_rows(Index first, Index block, Index stride, Index count);

/// The rows of `heads` heads of `head_dim` as Hugging Face stores them, where element i of a head turns with element
/// i + head_dim / 2, of a matrix that stores the elements that turn together next to each other.
RowOrder rows_of_adjacent_pairs(Index heads, Index head_dim);

/// A weight [rows, columns] as it is stored, or some rows of one, in memory that belongs to someone else. A row is
/// columns() / block_elements blocks of the type's layout, one after the other.
class WeightMatrix {
 public:
  WeightMatrix() = default;
  /// `bytes` holds rows * columns elements, row-major, at any alignment.
  WeightMatrix(core::StorageType type, std::span<const std::byte> bytes, Index rows, Index columns);

  /// The rows of this matrix in another order. This one must have all its rows in the order of storage.
  WeightMatrix reordered(const RowOrder& order) const;

  core::StorageType type() const { return type_; }
  Index rows() const { return order_.rows(); }
  Index columns() const { return columns_; }

  /// Where rows from `first` on begin, as many as `starts` has room for.
  void find_rows(Index first, std::span<const std::byte*> starts) const;
  /// Rows from `first` on as floats, as many as `out` has room for: a multiple of columns() elements.
  void copy_rows(Index first, std::span<float> out) const;

 private:
  std::span<const std::byte> stored_rows(Index first, Index count) const;

  core::StorageType type_ = core::StorageType::kFloat32;
  std::span<const std::byte> bytes_;
  Index columns_ = 0;
  std::size_t row_bytes_ = 0;
  RowOrder order_ = {.first = 0, .sizes = {1, 1, 0}, .strides = {0, 0, 1}};
};

}  // namespace evictlab::runtime
