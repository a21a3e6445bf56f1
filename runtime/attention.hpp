#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "runtime/kv_cache.hpp"
#include "trace/tensor.hpp"

namespace evictlab::runtime {

/// Queries are taken this many at a time, so that attention needs a buffer of kQueryBlock x keys.
inline constexpr Index kQueryBlock = 64;

/// Sees the softmax rows [rows, slots] of queries first, first+1, ... (counted within the chunk). Slots
/// a query does not see are exactly 0.
using AttentionSink = std::function<void(Index first, RowMatrixView probabilities)>;

/// Which slots queries see besides those up to their own: with `size` > 0, those of the last `size` positions, a
/// query's own included.
struct SlidingWindow {
  Index size = 0;
  std::span<const std::int32_t> positions;  // [slots], ascending unless a cache was compacted; needed with size > 0
};

/// Causal attention of one query head (Vaswani et al. 2017, eq. 1) over its kv head's slots, of which the
/// last m are the queries' own:
///   A = softmax(scale * Q K^T), query i seeing slots 0 .. slots - m + i that `window` shows;   output = A V
/// queries, output [m, d]; keys, values [slots, d]. Row sums are taken in double in a fixed order; the
/// rows are given to `sink`, where there is one, in ascending order as they are used.
void causal_attention(const RowMatrixView& queries, const RowMatrixView& keys, const RowMatrixView& values, float scale,
                      Eigen::Ref<RowMatrix> output, const AttentionSink& sink, const SlidingWindow& window = {});

/// The same for the rows of one of a layer's query heads.
using HeadAttentionSink = std::function<void(Index query_head, Index first, RowMatrixView probabilities)>;

/// Causal attention of all query heads of a layer, each over the slots that the cache holds for it, however many these
/// are: heads of different lengths are neither padded nor masked. `sliding_window` 0 = queries see every position.
/// queries [H, m, d]; output [m, H*d]. Query heads of one kv head come one after the other, from one thread; different
/// kv heads concurrently.
void cached_attention(const trace::TensorView& queries, const KvCache& cache, Index layer, float scale,
                      Index sliding_window, Eigen::Ref<RowMatrix> output, const HeadAttentionSink& sink);

/// ||value_j W||_1 for every row j of `values` [slots, d], W = `output_weight` [d, hidden] being W_O's rows of
/// one query head: the norms u_hj of Ada-KV's bound (Feng et al. 2024, Theorem 3.1). [slots]. A row's norm does not
/// depend on how many rows there are.
std::vector<float> output_norms(const RowMatrixView& values, const RowMatrixView& output_weight);

}  // namespace evictlab::runtime
