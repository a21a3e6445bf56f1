#pragma once

#include <Eigen/Core>

#include <cstddef>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "core/half.hpp"

namespace evictlab::trace {

using Eigen::Index;

/// No model or budget has more positions, and a prompt has fewer: traces number them in 32 bits.
inline constexpr Index kMaxPositions = Index{1} << 31;

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

/// Owns a contiguous stack of matrices, or borrows its elements from memory (a mapped file) that it keeps alive.
/// Borrowed elements cannot be changed: members that would give write access throw std::logic_error.
class Tensor {
 public:
  Tensor() = default;
  /// All zeros.
  Tensor(ElementType type, Index heads, Index rows, Index columns, float scale = 1.0F);
  /// Borrowed: `elements` are valid as long as `owner`, which all copies share. Throws std::invalid_argument when they
  /// are not as many as the shape says, or not aligned as their type must be.
  Tensor(ElementType type, std::span<const std::byte> elements, std::shared_ptr<const void> owner, Index heads,
         Index rows, Index columns, float scale = 1.0F);

  TensorView view() const;
  bool empty() const { return size() == 0; }
  Index size() const { return heads_ * rows_ * columns_; }
  Index heads() const { return heads_; }
  Index rows() const { return rows_; }
  Index columns() const { return columns_; }
  float scale() const { return scale_; }
  ElementType element_type() const {
    const bool half =
        std::holds_alternative<std::vector<core::Half>>(data_) || std::holds_alternative<Borrowed<core::Half>>(data_);
    return half ? ElementType::kFloat16 : ElementType::kFloat32;
  }
  bool is_borrowed() const {
    return std::holds_alternative<Borrowed<float>>(data_) || std::holds_alternative<Borrowed<core::Half>>(data_);
  }

  /// Stores one row, multiplied by the scale and rounded to the element type.
  void set_row(Index head, Index row, std::span<const float> values);
  /// The elements as stored: [heads * rows * columns] floats or halves; throws std::bad_variant_access for the other.
  std::span<float> floats() { return own<float>(); }
  std::span<const float> floats() const { return elements<float>(); }
  std::span<core::Half> halves() { return own<core::Half>(); }
  std::span<const core::Half> halves() const { return elements<core::Half>(); }
  std::span<const std::byte> bytes() const;
  std::span<std::byte> bytes();

 private:
  template <typename Element>
  struct Borrowed {
    std::span<const Element> elements;
    std::shared_ptr<const void> owner;
  };

  void require_own() const;
  template <typename Element>
  std::span<Element> own() {
    require_own();
    return std::get<std::vector<Element>>(data_);
  }
  template <typename Element>
  std::span<const Element> elements() const {
    if (const auto* borrowed = std::get_if<Borrowed<Element>>(&data_)) return borrowed->elements;
    return std::get<std::vector<Element>>(data_);
  }

  std::variant<std::vector<float>, std::vector<core::Half>, Borrowed<float>, Borrowed<core::Half>> data_;
  Index heads_ = 0;
  Index rows_ = 0;
  Index columns_ = 0;
  float scale_ = 1.0F;
};

}  // namespace evictlab::trace
