#include "runtime/weights.hpp"

#include <algorithm>

namespace evictlab::runtime {

RowOrder interleaved_rows(Index first, Index block, Index stride, Index count) {
  return {.first = first, .sizes = {1, count, block}, .strides = {0, stride, 1}};
}

RowOrder rows_of_adjacent_pairs(Index heads, Index head_dim) {
  return {.first = 0, .sizes = {heads, 2, head_dim / 2}, .strides = {head_dim, 1, 2}};
}

WeightMatrix::WeightMatrix(core::StorageType type, std::span<const std::byte> bytes, Index rows, Index columns)
    : type_(type),
      bytes_(bytes),
      columns_(columns),
      row_bytes_(core::stored_bytes(type, static_cast<std::size_t>(columns))),
      order_{.first = 0, .sizes = {1, 1, rows}, .strides = {0, 0, 1}} {}

WeightMatrix WeightMatrix::reordered(const RowOrder& order) const {
  WeightMatrix part = *this;
  part.order_ = order;
  return part;
}

std::span<const std::byte> WeightMatrix::stored_rows(Index first, Index count) const {
  return bytes_.subspan(static_cast<std::size_t>(first) * row_bytes_, static_cast<std::size_t>(count) * row_bytes_);
}

void WeightMatrix::find_rows(Index first, std::span<const std::byte*> starts) const {
  // Divisions are made once for all rows of an innermost digit.
  Index left = 0;
  const std::byte* next = nullptr;
  for (const std::byte*& start : starts) {
    if (left == 0) {
      const Index row = first + (&start - starts.data());
      left = order_.sizes[2] - row % order_.sizes[2];
      next = bytes_.data() + static_cast<std::size_t>(order_.stored_row(row)) * row_bytes_;
    }
    start = next;
    next += order_.strides[2] * static_cast<Index>(row_bytes_);
    --left;
  }
}

void WeightMatrix::copy_rows(Index first, std::span<float> out) const {
  const Index end = first + static_cast<Index>(out.size()) / columns_;
  for (Index row = first; row < end;) {
    const Index run = std::min(end - row, order_.run(row));
    core::expand(
        type_, stored_rows(order_.stored_row(row), run),
        out.subspan(static_cast<std::size_t>((row - first) * columns_), static_cast<std::size_t>(run * columns_)));
    row += run;
  }
}

}  // namespace evictlab::runtime
