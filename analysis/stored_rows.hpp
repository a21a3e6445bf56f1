#pragma once

#include "core/row_kernels.hpp"
#include "trace/tensor.hpp"

// Rows of a tensor in place, as the kernels of core/row_kernels.hpp take them.

namespace evictlab::analysis {

namespace detail {

template <typename RowAt>
auto stored_rows(trace::Index count, const RowAt& row_at) {
  const auto first = row_at(0);
  const std::size_t stride = count > 1 ? static_cast<std::size_t>(row_at(1).data() - first.data()) : first.size();
  using Element = typename decltype(first)::value_type;
  return core::StoredRows<Element>{first.data(), stride, static_cast<std::size_t>(count), first.size()};
}

}  // namespace detail

/// Calls body(rows, factor) with all rows of a head, core::StoredRows of Half or float; value = stored * factor.
template <typename Body>
void with_rows_of_head(const trace::TensorView& view, trace::Index head, const Body& body) {
  if (view.rows() == 0) return;
  if (view.element_type() == trace::ElementType::kFloat16) {
    const auto row_at = [&](trace::Index row) { return view.half_row(head, row); };
    body(detail::stored_rows(view.rows(), row_at), 1.0F / view.scale());
  } else {
    body(detail::stored_rows(view.rows(), [&](trace::Index row) { return view.float_row(head, row); }), 1.0F);
  }
}

/// The same with one row of every head.
template <typename Body>
void with_row_of_heads(const trace::TensorView& view, trace::Index row, const Body& body) {
  if (view.heads() == 0) return;
  if (view.element_type() == trace::ElementType::kFloat16) {
    const auto row_at = [&](trace::Index head) { return view.half_row(head, row); };
    body(detail::stored_rows(view.heads(), row_at), 1.0F / view.scale());
  } else {
    body(detail::stored_rows(view.heads(), [&](trace::Index head) { return view.float_row(head, row); }), 1.0F);
  }
}

}  // namespace evictlab::analysis
