#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sim/importance.hpp"

namespace evictlab::sim {

/// The candidates of every kept set of a layer in the order in which a selector prefers them. What a
/// budget keeps is a prefix, which is why later cuts need no scores.
struct Ranking {
  std::vector<std::vector<std::int32_t>> order;  // [kept sets][at most the ceiling]
};

/// Which positions a kept set holds, given importance and budget. Immutable.
class Selector {
 public:
  virtual ~Selector() = default;
  virtual std::string identity() const = 0;
  /// Whether the ranking changes with the budget. If not, one ranking serves every budget.
  virtual bool ranking_depends_on_budget() const { return false; }
  /// Ranks the candidates of one kept set, as many of the first as `ceiling` (positions, protected ones
  /// not counted). `slots` is what the allocator gives the set now, protected positions not counted; it
  /// may be used only where the ranking depends on the budget. Equal scores: lower position first.
  virtual std::vector<std::int32_t> rank(const PositionRanges& ranges, const Importance& importance, Index set,
                                         Index ceiling, Index slots) const = 0;
  /// How many of the first of a set's ranked candidates are kept when `slots` are left for them; at
  /// most slots unless the method itself overshoots.
  virtual Index prefix(const std::vector<std::int32_t>& ranked, Index slots) const = 0;
};

}  // namespace evictlab::sim
