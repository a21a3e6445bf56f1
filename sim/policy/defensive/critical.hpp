#pragma once

#include "sim/policy/allocator.hpp"
#include "sim/policy/types.hpp"

// DefensiveKV's first stage (FFY0/DefensiveKV@9251b95, from CriticalKV): the positions that hold most of the window's
// mean attention get the layer's largest score, as many as the budget allows. So scores depend on the budget, for the
// heads that compete by them and for each head's ranking alike.

namespace evictlab::sim {

/// Sets how many positions the first stage takes.
struct CriticalRule {
  Index window = 32;  // w: of the last queries, whose positions the budget holds beside
  /// limit = int((n - w) capacity / n - w) positions at most. A negative limit counts as 0; else, as in the code, it
  /// means all positions but the -limit of least attention.
  bool repair_limit = true;
};

/// One kept set's scores under a budget of `capacity` positions a set, [n]: those of importance.scores, with the
/// layer's largest for the positions of the first stage. importance.refinement is the critical-rank scorer's.
std::vector<float> elevated_scores(const Importance& importance, const PositionRanges& ranges, Index set,
                                   double capacity, const CriticalRule& rule);
/// The same for all kept sets.
std::shared_ptr<const trace::RowMatrix> elevated_scores(const Importance& importance, const PositionRanges& ranges,
                                                        double capacity, const CriticalRule& rule);

}  // namespace evictlab::sim
