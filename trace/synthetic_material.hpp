#pragma once

#include <cstdint>
#include <vector>

#include "trace/synthetic.hpp"

// What synthetic.cpp computes attention from: everything that is drawn or designed.

namespace evictlab::trace {

/// Where the question begins that ends the prompt.
Index question_begin(const SyntheticOptions& options);
Span needle_span(const SyntheticOptions& options, Index prompt);
std::vector<std::int32_t> synthetic_tokens(const SyntheticOptions& options, Index prompt);  // [n+T]

/// All positions' of one head, rounded to the element type: whatever is recorded is computed from the
/// numbers as they are stored.
RowMatrix synthetic_keys(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head);    // [n+T, d]
RowMatrix synthetic_values(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head);  // [n+T, d]
RowMatrix synthetic_queries(const SyntheticOptions& options, Index prompt, const LayerShape& shape, Index head);

}  // namespace evictlab::trace
