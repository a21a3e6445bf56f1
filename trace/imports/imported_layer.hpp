#pragma once

#include <functional>
#include <span>
#include <string>

#include "trace/model.hpp"

// Layers made from attention probabilities as a framework returns them (`output_attentions`), instead of recorded from
// a running model.

namespace evictlab::trace {

/// Attention of one layer: [H, rows, n+T], row i that of the query at position n+T-rows+i; rows > T, so that at least
/// one prompt query is there.
struct AttentionRows {
  Index rows = 0;
  /// Copies one row, n+T probabilities.
  std::function<void(Index head, Index row, std::span<double> out)> read;
};

/// Window attention (shape.window <= rows - T), future mass and, where all queries are there (rows = n+T), attention
/// mass. Frameworks round their probabilities to half precision, so rows are divided by what they sum to. Throws
/// TraceError, naming head and query, when a row is not what row_problem() wants, with 1 % for the sum; `where` begins
/// the message.
LayerData imported_layer(const LayerShape& shape, const AttentionRows& attention, const std::string& where);

}  // namespace evictlab::trace
