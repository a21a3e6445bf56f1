#pragma once

#include "runtime/kv_cache.hpp"
#include "trace/tensor.hpp"

namespace evictlab::runtime {

/// One layer's states of a chunk of m positions, before its attention. Valid during the call.
struct LayerStates {
  Index first_position = 0;       // of the chunk
  trace::TensorView queries;      // [H, m, d] position encoding applied
  trace::TensorView raw_queries;  // [H, m, d] before position encoding
  const KvCache& cache;           // this layer's keys and values already include the chunk's
};

/// Watches a forward pass. Every method may be left as it is. What it throws ends the pass.
class ForwardObserver {
 public:
  virtual ~ForwardObserver() = default;

  /// On the calling thread, before the attention of `layer`.
  virtual void on_layer_states(Index /*layer*/, const LayerStates& /*states*/) {}

  /// The softmax rows really used: [rows, slots] of query head `query_head` for the queries at positions
  /// first_position, first_position + 1, ... Columns are slots of the kv head's cache (positions, as long as
  /// nothing was evicted); those after a query's own are exactly 0. Query heads of one kv head come one
  /// after the other, each in ascending order of queries, from one thread; different kv heads come
  /// concurrently. Valid during the call.
  virtual void on_attention(Index /*layer*/, Index /*query_head*/, Index /*first_position*/,
                            const RowMatrixView& /*probabilities*/) {}

  /// On the calling thread, before the attention output of `layer` is added to the residual stream: both [m, hidden],
  /// of the queries at first_position, first_position + 1, ... Valid during the call.
  virtual void on_attention_output(Index /*layer*/, Index /*first_position*/, const RowMatrix& /*residual*/,
                                   const RowMatrix& /*output*/) {}

  /// On the calling thread, when the attention of `layer` is done.
  virtual void on_layer_end(Index /*layer*/) {}
};

}  // namespace evictlab::runtime
