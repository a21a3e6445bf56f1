#pragma once

#include <array>
#include <optional>
#include <span>
#include <vector>

#include "analysis/attention.hpp"
#include "trace/layer.hpp"

// Quantities by which eviction methods divide budgets between layers, heads and kv groups. docs/analyses.md has them
// all in one place.

namespace evictlab::analysis {

struct LayerOptions {
  ProfileOptions profile;
  trace::Index window = 32;  // the last so many queries, as CAKE takes them; fewer where fewer were recorded
  double tau1 = 1.0;         // temperatures of CAKE's preference, above 0
  double tau2 = 1.0;
};

/// Holds those quantities of one layer.
struct LayerProfile {
  double dispersion = 0;             // CAKE's H (Qin et al. 2025, arXiv:2503.12491, eq. 5), nats, as its code sums it
  double shift = 0;                  // CAKE's V (eq. 6)
  double preference = 0;             // H^(1/tau1) V^(1/tau2) (eq. 7)
  double dispersion_normalized = 0;  // H / (heads rows ln(positions)), 0..1; 0 where there is one position or none
  double shift_normalized = 0;       // V / heads
  std::array<double, 4> positions_for{};  // by kMassShares, mean over heads: LMBA (Zhong et al. 2024, arXiv:2412.09036)
  double lazy_mass = 0;     // the last query's on sinks and recent, mean over heads (SimLayerKV: arXiv:2410.13846)
  double head_spread = 0;   // coefficient of variation over heads of the positions for 90 %
  double head_overlap = 0;  // mean Jaccard index of top sets, pairs of heads of different kv groups; 1 where none
  std::optional<double> group_overlap;  // pairs inside a group; none where groups are of one head
  double run_length = 0;                // mean length of runs in the heads' top sets
  // Only if a future was recorded:
  std::optional<double> window_hit_rate;  // share of the future's top sets in the window's (SnapKV: arXiv:2404.14469)
  std::optional<double> group_cost;       // mass of the future's top sets lost when a group shares one, mean over heads
};

/// `layer` holds window_attention, and future_mass where there is a future; `window` is rank_window() of every head,
/// [H].
LayerProfile layer_profile(const trace::LayerData& layer, std::span<const RankedMass> window,
                           std::span<const AttentionProfile> heads, const LayerOptions& options = {});

/// Ranks the prompt part of every head's future mass: [H].
std::vector<RankedMass> rank_future(const trace::LayerData& layer);

}  // namespace evictlab::analysis
