#include "analysis/future_attention.hpp"

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include "core/attention_rows.hpp"

namespace evictlab::analysis {

using trace::Index;
using trace::RowMatrix;

RowMatrix future_attention(const trace::LayerShape& shape, const trace::FutureView& future, Index kv_head,
                           Index first) {
  const Index queries_of_head = shape.future_length;
  const trace::TensorView keys = future.keys.row_range(first, future.keys.rows() - first);
  RowMatrix queries(shape.group_size() * queries_of_head, shape.head_dim);
  std::vector<core::VisibleKeys> visible;
  for (Index h = 0; h < shape.group_size(); ++h) {
    queries.middleRows(h * queries_of_head, queries_of_head) =
        future.queries.copy_head(kv_head * shape.group_size() + h);
    for (Index t = 0; t < queries_of_head; ++t) {
      const Index position = shape.prompt_length + t;
      visible.push_back({static_cast<std::size_t>(std::max(first, shape.first_seen(position)) - first),
                         static_cast<std::size_t>(position + 1 - first)});
    }
  }
  RowMatrix rows(queries.rows(), keys.rows());
  if (rows.size() == 0) return rows;
  const auto span_of = [](auto& matrix) { return std::span(matrix.data(), static_cast<std::size_t>(matrix.size())); };
  const auto scale = static_cast<float>(shape.attention_scale / double{keys.scale()});
  // Keys are whole rows of the recorded tensor, so that one head's are contiguous.
  const auto compute = [&](const auto* stored) {
    core::attention_rows(span_of(std::as_const(queries)),
                         std::span(stored, static_cast<std::size_t>(keys.rows() * keys.columns())),
                         static_cast<std::size_t>(shape.head_dim), scale, visible, span_of(rows));
  };
  if (keys.element_type() == trace::ElementType::kFloat16) {
    compute(keys.half_row(kv_head, 0).data());
  } else {
    compute(keys.float_row(kv_head, 0).data());
  }
  return rows;
}

}  // namespace evictlab::analysis
