#pragma once

#include <array>
#include <span>
#include <string_view>

#include "analysis/top_sets.hpp"
#include "trace/layer.hpp"

namespace evictlab::analysis {

/// Shannon entropy of a distribution in nats, H = -sum p_j ln p_j with 0 ln 0 = 0. The weights are taken
/// relative to their sum (rows stored as half sum to 1 only nearly); 0 when they are all 0.
double entropy(std::span<const float> weights);

/// Shares of attention: positions_80 is the fewest positions that hold 80 % of it.
inline constexpr std::array<double, 4> kMassShares = {0.80, 0.90, 0.95, 0.99};
inline constexpr std::array<std::string_view, 4> kMassShareColumns = {"positions_80", "positions_90", "positions_95",
                                                                      "positions_99"};

struct ProfileOptions {
  trace::Index sinks = 4;
  trace::Index recent = 32;
  double top = 0.05;  // share of the visible positions that counts as a head's top set
};

/// Summarises how one head attends, averaged over rows. Every row is a distribution over its causal prefix: the
/// positions up to its own, in a sliding window W only the last W of them. The four masses sum to 1.
struct AttentionProfile {
  double entropy = 0;              // nats, 0..ln(prefix)
  double normalized_entropy = 0;   // entropy / ln(visible prefix), 0..1: 1 is uniform; rows of one position count 0
  double effective_positions = 0;  // exp(entropy) per row, then averaged: as many positions as if it were uniform
  double sink_mass = 0;    // on the first `sinks` positions (attention sinks: Xiao et al. 2023, arXiv:2309.17453)
  double recent_mass = 0;  // on the last `recent` positions up to the query's own, without those sinks
  double heavy_mass = 0;   // on the top set of all other positions (heavy hitters: Zhang et al. 2023, arXiv:2306.14048)
  double rest_mass = 0;
  std::array<trace::Index, 4> positions_for{};  // by kMassShares: fewest positions with that share of the rows' sum
};

/// The profile of one head from [H, w, n] rows of the last w prompt queries: row r is the query at position
/// n-w+r. `sliding_window` 0 = sees every position. `ranked` is the rows' sum, ranked: rank_window().
AttentionProfile attention_profile(const trace::TensorView& window_attention, trace::Index head,
                                   trace::Index sliding_window, const RankedMass& ranked,
                                   const ProfileOptions& options = {});

/// Ranks one head's attention, summed over all recorded window rows.
RankedMass rank_window(const trace::TensorView& window_attention, trace::Index head);

/// "sink", "local", "retrieval" or "dispersed": the first of sink, recent and heavy mass that is at least a half, else
/// the last. A rule of thumb.
std::string_view head_kind(const AttentionProfile& profile);

}  // namespace evictlab::analysis
