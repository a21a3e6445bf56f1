#pragma once

#include "trace/layer.hpp"

namespace evictlab::analysis {

/// Softmax rows of the future queries of the query heads that read kv head `kv_head`, one head's after the other's:
/// [H/G * T, n+T - first]. Query n+t sees 0..n+t, in a sliding window W only its last W positions. Column 0 is position
/// `first`. Needs the full tier's queries and keys.
trace::RowMatrix future_attention(const trace::LayerShape& shape, const trace::FutureView& future, trace::Index kv_head,
                                  trace::Index first);

}  // namespace evictlab::analysis
