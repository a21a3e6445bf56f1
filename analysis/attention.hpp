#pragma once

#include <span>

#include "analysis/table.hpp"
#include "trace/model.hpp"

namespace evictlab::analysis {

/// Shannon entropy of a distribution in nats, H = -sum p_j ln p_j with 0 ln 0 = 0. The weights are taken
/// relative to their sum (rows stored as half sum to 1 only nearly); 0 when they are all 0.
double entropy(std::span<const float> weights);

/// How one head attends, averaged over rows. Every row is a distribution over its causal prefix: the positions
/// up to its own, in a sliding window W only the last W of them.
struct AttentionProfile {
  double entropy = 0;              // nats, 0..ln(prefix)
  double normalized_entropy = 0;   // entropy / ln(visible prefix), 0..1: 1 is uniform; rows of one position count 0
  double effective_positions = 0;  // exp(entropy) per row, then averaged: as many positions as if it were uniform
  double sink_mass = 0;    // on the first `sinks` positions (attention sinks: Xiao et al. 2023, arXiv:2309.17453)
  double recent_mass = 0;  // on the last `recent` positions up to the query's own
};

struct ProfileOptions {
  trace::Index sinks = 4;
  trace::Index recent = 32;
};

/// The profile of one head from [H, w, n] rows of the last w prompt queries: row r is the query at position
/// n-w+r. `sliding_window` 0 = sees every position.
AttentionProfile attention_profile(const trace::TensorView& window_attention, trace::Index head,
                                   trace::Index sliding_window, const ProfileOptions& options = {});

/// Every recorded layer and head of every prompt: prompt, task, layer, head, entropy_nats, normalized_entropy,
/// effective_positions, sink_mass, recent_mass. Layers are read in parallel; rows come in order.
Table attention_table(const trace::Source& source, const ProfileOptions& options = {});

}  // namespace evictlab::analysis
