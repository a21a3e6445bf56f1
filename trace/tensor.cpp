#include "trace/tensor.hpp"

#include <algorithm>
#include <cassert>
#include <stdexcept>

namespace evictlab::trace {

TensorView::TensorView(const float* data, Index heads, Index rows, Index columns)
    : floats_(data),
      heads_(heads),
      rows_(rows),
      columns_(columns),
      head_stride_(rows * columns),
      row_stride_(columns) {}

TensorView::TensorView(const core::Half* data, Index heads, Index rows, Index columns, float scale)
    : halves_(data),
      heads_(heads),
      rows_(rows),
      columns_(columns),
      head_stride_(rows * columns),
      row_stride_(columns),
      scale_(scale) {}

TensorView TensorView::row_range(Index first, Index count) const {
  assert(first >= 0 && count >= 0 && first + count <= rows_);
  TensorView part = *this;
  part.rows_ = count;
  if (floats_ != nullptr) part.floats_ += first * row_stride_;
  if (halves_ != nullptr) part.halves_ += first * row_stride_;
  return part;
}

TensorView TensorView::column_range(Index first, Index count) const {
  assert(first >= 0 && count >= 0 && first + count <= columns_);
  TensorView part = *this;
  part.columns_ = count;
  if (floats_ != nullptr) part.floats_ += first;
  if (halves_ != nullptr) part.halves_ += first;
  return part;
}

void TensorView::copy_row(Index head, Index row, std::span<float> out) const {
  assert(static_cast<Index>(out.size()) == columns_);
  if (halves_ != nullptr) {
    core::to_float(half_row(head, row), out, 1.0F / scale_);
  } else {
    std::ranges::copy(float_row(head, row), out.begin());
  }
}

RowMatrix TensorView::copy_head(Index head) const {
  RowMatrix matrix(rows_, columns_);
  for (Index row = 0; row < rows_; ++row) {
    copy_row(head, row, {matrix.data() + row * columns_, static_cast<std::size_t>(columns_)});
  }
  return matrix;
}

std::span<const float> TensorView::float_row(Index head, Index row) const {
  assert(halves_ == nullptr && head >= 0 && head < heads_ && row >= 0 && row < rows_);
  return {floats_ + head * head_stride_ + row * row_stride_, static_cast<std::size_t>(columns_)};
}

std::span<const core::Half> TensorView::half_row(Index head, Index row) const {
  assert(halves_ != nullptr && head >= 0 && head < heads_ && row >= 0 && row < rows_);
  return {halves_ + head * head_stride_ + row * row_stride_, static_cast<std::size_t>(columns_)};
}

Tensor::Tensor(ElementType type, Index heads, Index rows, Index columns, float scale)
    : heads_(heads), rows_(rows), columns_(columns), scale_(scale) {
  if (type == ElementType::kFloat32 && scale != 1.0F) throw std::invalid_argument("a float tensor has no scale");
  const auto count = static_cast<std::size_t>(size());
  if (type == ElementType::kFloat16) {
    data_ = std::vector<core::Half>(count);
  } else {
    data_ = std::vector<float>(count);
  }
}

TensorView Tensor::view() const {
  if (element_type() == ElementType::kFloat16) return {halves().data(), heads_, rows_, columns_, scale_};
  return {floats().data(), heads_, rows_, columns_};
}

void Tensor::set_row(Index head, Index row, std::span<const float> values) {
  assert(static_cast<Index>(values.size()) == columns_ && head >= 0 && head < heads_ && row >= 0 && row < rows_);
  const auto first = static_cast<std::size_t>((head * rows_ + row) * columns_);
  if (element_type() == ElementType::kFloat16) {
    core::to_half(values, halves().subspan(first, values.size()), scale_);
  } else {
    std::ranges::copy(values, floats().begin() + static_cast<std::ptrdiff_t>(first));
  }
}

std::span<const std::byte> Tensor::bytes() const {
  return std::visit([](const auto& elements) { return std::as_bytes(std::span(elements)); }, data_);
}

std::span<std::byte> Tensor::bytes() {
  return std::visit([](auto& elements) { return std::as_writable_bytes(std::span(elements)); }, data_);
}

}  // namespace evictlab::trace
