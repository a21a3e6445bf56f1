#pragma once

#include <vector>

#include "trace/tensor.hpp"

namespace evictlab::analysis {

/// Shows one layer's recorded attention as a picture, small enough to look at.
struct AttentionMap {
  trace::Index queries = 0;    // rows
  trace::Index bins = 0;       // columns
  std::vector<double> values;  // [queries, bins], 0..1

  double at(trace::Index query, trace::Index bin) const { return values[static_cast<std::size_t>(query * bins + bin)]; }
};

/// Reduces rows [H, w, n] of the last w queries to the mean over heads, then to the largest value of every cell. Window
/// row r is in row floor(r queries / w) of the map, position j in bin floor(j bins / n); never more parts than rows and
/// positions.
AttentionMap attention_map(const trace::TensorView& window_attention, trace::Index most_queries,
                           trace::Index most_bins);

}  // namespace evictlab::analysis
