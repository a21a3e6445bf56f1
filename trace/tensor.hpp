#pragma once

#include <Eigen/Core>

#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "core/half.hpp"

namespace evictlab::trace {

using Eigen::Index;
using RowMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowMatrixView = Eigen::Map<const RowMatrix, Eigen::Unaligned, Eigen::OuterStride<>>;

enum class ElementType { kFloat16, kFloat32 };

/// A stack of matrices [heads, rows, columns] that belongs to someone else, stored as half or float:
/// value = stored / scale. Columns are contiguous. A [heads, columns] array has rows = 1.
class TensorView {
 public:
  TensorView() = default;
  TensorView(const float* data, Index heads, Index rows, Index columns);
  TensorView(const core::Half* data, Index heads, Index rows, Index columns, float scale = 1.0F);

  bool empty() const { return heads_ * rows_ * columns_ == 0; }
  Index heads() const { return heads_; }
  Index rows() const { return rows_; }
  Index columns() const { return columns_; }
  ElementType element_type() const { return halves_ != nullptr ? ElementType::kFloat16 : ElementType::kFloat32; }
  float scale() const { return scale_; }

  /// Parts of it, without copying. Ranges must lie inside.
  TensorView row_range(Index first, Index count) const;
  TensorView column_range(Index first, Index count) const;

  /// One row as floats, converted and divided by the scale. `out` has columns() elements.
  void copy_row(Index head, Index row, std::span<float> out) const;
  /// One head [rows, columns] as floats: an expensive copy.
  RowMatrix copy_head(Index head) const;
  /// One row of a float tensor of scale 1, in place. Must not be called for a half tensor.
  std::span<const float> float_row(Index head, Index row) const;
  /// One row of a half tensor as stored (times the scale). Must not be called for a float tensor.
  std::span<const core::Half> half_row(Index head, Index row) const;

 private:
  const float* floats_ = nullptr;
  const core::Half* halves_ = nullptr;
  Index heads_ = 0;
  Index rows_ = 0;
  Index columns_ = 0;
  Index head_stride_ = 0;
  Index row_stride_ = 0;
  float scale_ = 1.0F;
};

/// The same, owned and contiguous.
class Tensor {
 public:
  Tensor() = default;
  /// All zeros.
  Tensor(ElementType type, Index heads, Index rows, Index columns, float scale = 1.0F);

  TensorView view() const;
  bool empty() const { return size() == 0; }
  Index size() const { return heads_ * rows_ * columns_; }
  Index heads() const { return heads_; }
  Index rows() const { return rows_; }
  Index columns() const { return columns_; }
  float scale() const { return scale_; }
  ElementType element_type() const {
    return std::holds_alternative<std::vector<core::Half>>(data_) ? ElementType::kFloat16 : ElementType::kFloat32;
  }

  /// Stores one row, multiplied by the scale and rounded to the element type.
  void set_row(Index head, Index row, std::span<const float> values);
  /// The elements as stored: [heads * rows * columns] floats or halves; throws std::bad_variant_access for the other.
  std::span<float> floats() { return std::get<std::vector<float>>(data_); }
  std::span<const float> floats() const { return std::get<std::vector<float>>(data_); }
  std::span<core::Half> halves() { return std::get<std::vector<core::Half>>(data_); }
  std::span<const core::Half> halves() const { return std::get<std::vector<core::Half>>(data_); }
  std::span<const std::byte> bytes() const;
  std::span<std::byte> bytes();

 private:
  std::variant<std::vector<float>, std::vector<core::Half>> data_;
  Index heads_ = 0;
  Index rows_ = 0;
  Index columns_ = 0;
  float scale_ = 1.0F;
};

}  // namespace evictlab::trace
