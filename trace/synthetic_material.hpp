#pragma once

#include <vector>

#include "trace/synthetic.hpp"

// What synthetic.cpp computes attention from: everything that is drawn or designed.

namespace evictlab::trace {

/// Where the question begins that ends the prompt.
Index question_begin(const SyntheticOptions& options);
Span needle_span(const SyntheticOptions& options, Index prompt);

// Of one head, rounded to the element type: whatever is recorded is computed from the numbers as they are stored.

/// [n+T, d]
RowMatrix synthetic_keys(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head);
/// Their first columns: the axes that queries look at. What a key has beyond is noise that no query has.
RowMatrix synthetic_key_features(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head);
/// [count, d] from position `first` on.
RowMatrix synthetic_values(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head, Index first,
                           Index count);

/// What queries begin .. end-1 hold on the one axis of keys that they look at (value 0: on none).
struct QueryRun {
  Index begin = 0;
  Index end = 0;
  Index axis = 0;
  float value = 0.0F;
};
/// All positions' queries of a head, ascending, without gaps.
std::vector<QueryRun> synthetic_query_runs(const SyntheticOptions& options, const LayerShape& shape, Index head);
/// [n+T, d]: these, and noise that no key has.
RowMatrix synthetic_queries(const SyntheticOptions& options, Index prompt, const LayerShape& shape, Index head);

}  // namespace evictlab::trace
