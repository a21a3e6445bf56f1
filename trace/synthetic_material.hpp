#pragma once

#include <vector>

#include "trace/synthetic.hpp"

// Keys, queries and values that synthetic.cpp computes attention from: everything that is drawn or designed.

namespace evictlab::trace {

/// The position at which the question begins, which ends the prompt.
Index question_begin(const SyntheticOptions& options);
Span needle_span(const SyntheticOptions& options, Index prompt);

// Arrays of one head, rounded to the element type: every recorded field is computed from the numbers as stored.

/// [n+T, d]
RowMatrix synthetic_keys(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head);
/// The first columns of the keys: the axes that queries look at. Further columns are noise that no query has.
RowMatrix synthetic_key_features(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head);
/// [count, d] from position `first` on.
RowMatrix synthetic_values(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head, Index first,
                           Index count);

/// Queries begin .. end-1 hold this value on the one axis of keys that they look at (value 0: on none).
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
