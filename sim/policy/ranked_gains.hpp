#pragma once

#include <span>
#include <vector>

#include "analysis/allocation.hpp"
#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// Gain curves of one layer's kept sets: the future attention a set retains with the first 0, 1, 2, ... positions of
/// its ranking. The best allocation for the ranking divides slots by them (analysis/allocation.hpp). In units of future
/// shares, which add up to retained mass times the query heads.
class RankedGains {
 public:
  /// `shares` [sets, n] (future_importance), `ranking` of all candidates.
  RankedGains(const trace::RowMatrix& shares, const Ranking& ranking, const PositionRanges& ranges);

  /// One per kept set; counts are of candidates, the protected positions' mass is in every value.
  std::span<const analysis::ConcaveHull> hulls() const { return hulls_; }
  /// What a set retains with the protected and its `count` first candidates.
  double value(Index set, Index count) const;

 private:
  std::vector<std::vector<float>> gains_;     // [sets][candidates], in the order of the ranking
  std::vector<analysis::ConcaveHull> hulls_;  // [sets]
};

/// The best division of `totals` (rising numbers of candidates over all sets of all layers), set by set in the order of
/// the layers.
std::vector<analysis::SlotAllocation> best_allocations(std::span<const std::shared_ptr<const RankedGains>> layers,
                                                       std::span<const Index> totals);

}  // namespace evictlab::sim
