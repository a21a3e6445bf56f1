#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/aligned_floats.hpp"
#include "core/attention_kernels.hpp"
#include "trace/layer.hpp"

// Norms of what W_O makes of differences of attention outputs: the one cost of exact losses that neither budgets nor
// policies share, 2 T H d hidden operations for each distinct run. The product itself is never stored.

namespace evictlab::analysis {

/// A matrix [rows, columns] in the order in which OutputProjection multiplies it: tiles of kRows rows, within a tile
/// column after column. All zero at first; rows that fill up the last tile stay so.
class TiledRows {
 public:
  static constexpr trace::Index kRows = core::kQueryTile;

  TiledRows(trace::Index rows, trace::Index columns)
      : tiles_(padded(rows) / kRows), columns_(columns), data_(static_cast<std::size_t>(padded(rows) * columns)) {}

  /// So many rows with those that fill up the last tile.
  static constexpr trace::Index padded(trace::Index rows) { return (rows + kRows - 1) / kRows * kRows; }
  trace::Index tiles() const { return tiles_; }
  trace::Index columns() const { return columns_; }
  /// kRows elements of a column, followed by those of the next one.
  float* tile(trace::Index tile, trace::Index column) { return data_.data() + (tile * columns_ + column) * kRows; }
  const float* tile(trace::Index tile, trace::Index column) const {
    return data_.data() + (tile * columns_ + column) * kRows;
  }

 private:
  trace::Index tiles_;
  trace::Index columns_;
  core::AlignedFloats data_;
};

/// Sums over the elements of a matrix.
struct MatrixNorms {
  double absolute = 0;          // of all their absolute values
  std::vector<double> squared;  // of each row's squares; rows that fill up the last tile included
};

/// Multiplies by W_O in float, at the speed of the machine's fused multiply-adds; the result does not depend on its
/// instruction set, nor on the number of threads. Thread-safe.
class OutputProjection {
 public:
  /// Keeps a copy of `output_weight` [H*d, hidden], in the order of the products.
  explicit OutputProjection(const trace::RowMatrix& output_weight);

  /// Norms of matrix * W_O for each of them; all have H*d columns. Give several at once: a part of W_O is in the cache
  /// for all of them. The sum over the columns is taken in parts of kDepth, a norm's in double.
  std::vector<MatrixNorms> norms(std::span<const TiledRows> matrices) const;

 private:
  static constexpr trace::Index kDepth =
      512;  // rows of W_O: with a panel's columns they take an eighth of the L2 cache
  static constexpr trace::Index kColumns = core::kKeyTile;

  /// Of one panel's columns.
  MatrixNorms panel_norms(trace::Index panel, const TiledRows& matrix, std::span<float> products) const;

  trace::Index rows_;
  trace::Index panels_;          // of kColumns columns, zeros behind the last
  core::AlignedFloats weights_;  // [panels, H*d, kColumns]
};

}  // namespace evictlab::analysis
