#include "trace/tensor.hpp"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <stdexcept>
#include <utility>

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

namespace {

void require_scale(ElementType type, float scale) {
  if (type == ElementType::kFloat32 && scale != 1.0F) throw std::invalid_argument("a float tensor has no scale");
}

// Reads someone else's memory as elements.
template <typename Element>
std::span<const Element> as_elements(std::span<const std::byte> bytes, Index count) {
  if (bytes.size() != static_cast<std::size_t>(count) * sizeof(Element)) {
    throw std::invalid_argument("a tensor has as many elements as its shape says");
  }
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(Element) != 0) {
    throw std::invalid_argument("a tensor's elements are aligned as their type must be");
  }
  return {reinterpret_cast<const Element*>(bytes.data()), static_cast<std::size_t>(count)};
}

}  // namespace

Tensor::Tensor(ElementType type, Index heads, Index rows, Index columns, float scale)
    : heads_(heads), rows_(rows), columns_(columns), scale_(scale) {
  require_scale(type, scale);
  const auto count = static_cast<std::size_t>(size());
  if (type == ElementType::kFloat16) {
    data_ = std::vector<core::Half>(count);
  } else {
    data_ = std::vector<float>(count);
  }
}

Tensor::Tensor(ElementType type, std::span<const std::byte> elements, std::shared_ptr<const void> owner, Index heads,
               Index rows, Index columns, float scale)
    : heads_(heads), rows_(rows), columns_(columns), scale_(scale) {
  require_scale(type, scale);
  if (type == ElementType::kFloat16) {
    data_ = Borrowed<core::Half>{as_elements<core::Half>(elements, size()), std::move(owner)};
  } else {
    data_ = Borrowed<float>{as_elements<float>(elements, size()), std::move(owner)};
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

void Tensor::require_own() const {
  if (is_borrowed()) throw std::logic_error("the elements of a borrowed tensor cannot be changed");
}

std::span<const std::byte> Tensor::bytes() const {
  return element_type() == ElementType::kFloat16 ? std::as_bytes(halves()) : std::as_bytes(floats());
}

std::span<std::byte> Tensor::bytes() {
  return element_type() == ElementType::kFloat16 ? std::as_writable_bytes(halves()) : std::as_writable_bytes(floats());
}

}  // namespace evictlab::trace
