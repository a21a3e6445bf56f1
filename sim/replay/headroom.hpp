#pragma once

#include <memory>
#include <span>
#include <vector>

#include "sim/policy/policy.hpp"
#include "sim/policy/ranked_gains.hpp"

// How much attention a policy leaves on the table, and which of its parts does. For one run on one prompt, with m the
// retained mass (mean over query heads and layers) and the same slots and protection throughout:
//
//   better scoring      the future's ranking at the policy's own counts, less m: its regret
//   better allocation   the policy's ranking at the best counts there are, less m (analysis/allocation.hpp)
//   both                the future's ranking at the best counts: the oracle over layers, less m
//
// They do not add up: a better ranking also changes which counts are best.

namespace evictlab::sim {

/// Bounds what any policy retains: pools what the future pays the positions of all layers, under one granularity and
/// protection, and says how much any number of slots retains of it at most.
class GlobalOracle {
 public:
  /// At most `most` candidates will be asked for: no more are remembered.
  explicit GlobalOracle(Index most) : most_(most) {}
  void add_layer(const trace::RowMatrix& shares, const PositionRanges& ranges);
  /// With so many candidates over all sets and layers, for each of the rising `counts`; in future shares, protected
  /// positions included.
  std::vector<double> best(std::span<const Index> counts) const;

 private:
  Index most_;
  std::vector<float> shares_;  // the largest of all layers' candidates, falling
  double protected_ = 0.0;
};

/// In retained mass.
struct Headroom {
  double allocation = 0.0;        // >= 0
  double allocation_bound = 0.0;  // >= allocation: no division of the ranking's slots gains more
  double both = 0.0;              // >= 0
};

/// Whether slots can be divided freely over a policy's ranking: it is one for all budgets, position by position, and
/// every layer has its own.
bool has_headroom(const Policy& policy, Index layers);

/// Of runs that rank alike. `layers` are the curves of their rankings of all candidates, `future` is of their kept sets
/// and protection, each run's counts [layers * sets] are the candidates held.
std::vector<Headroom> headroom_of(std::span<const std::shared_ptr<const RankedGains>> layers,
                                  const GlobalOracle& future, std::span<const std::vector<Index>> runs,
                                  Index query_heads);

}  // namespace evictlab::sim
