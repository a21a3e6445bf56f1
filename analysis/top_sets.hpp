#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trace/tensor.hpp"

// Which positions get most of a head's attention, and how such sets compare. Sets are ascending positions.

namespace evictlab::analysis {

/// k = max(1, round(fraction * positions)), at most `positions`.
trace::Index top_count(trace::Index positions, double fraction);

/// Positions by attention mass, most first, of equal mass the lower position first.
struct RankedMass {
  std::vector<std::uint32_t> order;  // [n]
  std::vector<double> cumulative;    // [n]: share of all mass on the first i + 1; all 0 where there is no mass
};
RankedMass rank_mass(std::span<const double> mass);

/// The fewest positions that hold at least `share` (0..1) of the mass; 0 where there is no mass.
trace::Index positions_for(const RankedMass& ranked, double share);
/// Share of the mass on the `count` positions of most mass.
double mass_on_top(const RankedMass& ranked, trace::Index count);
/// The `count` positions of most mass, ascending.
std::vector<std::uint32_t> top_set(const RankedMass& ranked, trace::Index count);

/// |a and b| / |a or b|; 1 for two empty sets.
double jaccard_index(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b);
/// |a and b| / |a|: how much of `a` is in `b`; 1 for an empty `a`.
double share_inside(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b);
/// Mean length of the runs of consecutive positions; 0 for an empty set.
double mean_run_length(std::span<const std::uint32_t> set);

}  // namespace evictlab::analysis
