#pragma once

#include <span>
#include <vector>

#include "trace/tensor.hpp"

// Attention of queries that all ask the same: q·k depends on the key alone, `logits[j]` for position j. A long
// prompt's masses then cost as many steps as there are positions, not as many as there are pairs of them.

namespace evictlab::trace {

/// row[j] = softmax over j in [first, t] of scale * logits[j]; the rest of `row` stays as it is. scale > 0.
void softmax_row(std::span<const double> logits, double scale, Index first, Index t, std::span<double> row);

/// [end] sum of the softmax rows of queries begin .. end-1, where query t sees the last `sliding_window` positions
/// up to t, or all of them (0). `logits` has `end` elements; scale > 0. What is below double's range counts as zero.
std::vector<double> attention_mass(std::span<const double> logits, double scale, Index sliding_window, Index begin,
                                   Index end);

}  // namespace evictlab::trace
