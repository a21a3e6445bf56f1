#include "analysis/attention_map.hpp"

#include <algorithm>

#include "analysis/stored_rows.hpp"

namespace evictlab::analysis {

using trace::Index;

AttentionMap attention_map(const trace::TensorView& window_attention, Index most_queries, Index most_bins) {
  const Index rows = window_attention.rows();
  const Index positions = window_attention.columns();
  AttentionMap map{std::min(rows, most_queries), std::min(positions, most_bins), {}};
  map.values.assign(static_cast<std::size_t>(map.queries * map.bins), 0.0);
  std::vector<double> sums(static_cast<std::size_t>(positions));
  for (Index row = 0; row < rows; ++row) {
    std::ranges::fill(sums, 0.0);
    with_row_of_heads(window_attention, row,
                      [&](const auto& stored, float factor) { core::add_column_sums(stored, factor, sums); });
    const Index first = row * map.queries / rows * map.bins;
    for (Index j = 0; j < positions; ++j) {
      double& cell = map.values[static_cast<std::size_t>(first + j * map.bins / positions)];
      cell = std::max(cell, sums[static_cast<std::size_t>(j)] / static_cast<double>(window_attention.heads()));
    }
  }
  return map;
}

}  // namespace evictlab::analysis
