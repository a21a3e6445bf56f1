#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "core/safetensors.hpp"
#include "trace/tensor.hpp"

namespace evictlab::runtime {

using trace::Index;

enum class WeightType { kFloat32, kFloat16, kBFloat16 };

/// The type of a tensor that can be a weight. Throws ModelError naming any other; `where` names its model.
WeightType weight_type(const core::StoredTensor& tensor, const std::string& where);

/// A weight [rows, columns] as it is stored, or some rows of one, in memory that belongs to someone else.
class WeightMatrix {
 public:
  WeightMatrix() = default;
  /// `bytes` holds rows * columns elements, row-major, at any alignment.
  WeightMatrix(WeightType type, std::span<const std::byte> bytes, Index rows, Index columns);

  /// The rows of `count` blocks of `block` rows, of which each begins `stride` rows after the one before it and the
  /// first at row `first`: one of several matrices that are interleaved in this one.
  WeightMatrix interleaved(Index first, Index block, Index stride, Index count) const;

  WeightType type() const { return type_; }
  Index rows() const { return rows_; }
  Index columns() const { return columns_; }

  /// Rows from `first` on as floats, as many as `out` has room for: a multiple of columns() elements.
  void copy_rows(Index first, std::span<float> out) const;

 private:
  /// The same of stored rows.
  void copy_stored(Index first, std::span<float> out) const;

  WeightType type_ = WeightType::kFloat32;
  std::span<const std::byte> bytes_;
  Index rows_ = 0;
  Index columns_ = 0;
  // Row r is the stored row first_ + r / block_ * stride_ + r % block_.
  Index first_ = 0;
  Index block_ = 0;
  Index stride_ = 0;
};

}  // namespace evictlab::runtime
