#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/policy/part.hpp"
#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// Asks for the ranking of one kept set.
struct RankRequest {
  const PositionRanges& ranges;
  const Importance& importance;
  Index set = 0;
  Index ceiling = 0;  // as many candidates are wanted
  // Only where the ranking depends on the budget:
  Index slots = 0;        // candidates the allocator gives the set now
  double capacity = 0.0;  // positions per kept set before any allocation, protected ones included, not rounded
};

/// Says which layers hold what another layer selected.
struct LayerSharing {
  Index layers = 1;  // so many successive ones hold what the first of them selects
  /// A first layer that keeps nothing but what is protected leaves what an earlier one selected to those after it.
  bool keeps_older = false;
};

/// Chooses the positions that a kept set holds, given importance and budget. Immutable.
class Selector : public Part {
 public:
  /// Whether the ranking changes with the budget. If not, one ranking serves every budget.
  virtual bool ranking_depends_on_budget() const { return false; }
  /// Whether it changes with what the allocator gives the set, not only with the capacity that is asked for.
  virtual bool ranking_depends_on_own_budget() const { return ranking_depends_on_budget(); }
  /// Whether it reads what the policy's refiner says.
  virtual bool needs_refinement() const { return false; }
  /// Positions that are kept or evicted together; a ranking of blocks is never cut short.
  virtual Index block() const { return 1; }
  /// In a model of so many layers.
  virtual LayerSharing sharing(Index /*layers*/) const { return {}; }
  /// Ranks the candidates of one kept set. Equal scores: lower position first, unless the method says otherwise.
  virtual std::vector<std::int32_t> rank(const RankRequest& request) const = 0;
  /// How many of the first of a set's ranked candidates are kept when `slots` are left for them; at
  /// most slots unless the method itself overshoots.
  virtual Index prefix(std::span<const std::int32_t> ranked, const PositionRanges& ranges, Index slots) const = 0;
};

}  // namespace evictlab::sim
