#pragma once

#include <functional>
#include <memory>

#include "sim/policy/allocator.hpp"
#include "sim/policy/pooled_ranking.hpp"

namespace evictlab::sim {

/// Sets by what the kept sets of all layers compete.
struct AllLayersRule {
  TieOrder ties = TieOrder::kLowerFirst;
  /// Scores that depend on the positions asked for per kept set; none: the scorer's.
  std::function<std::shared_ptr<const trace::RowMatrix>(const LayerSummary& summary, double capacity)> scores = nullptr;
  bool real_total = false;  // slots are rounded down for all layers together
  bool strict = false;      // only what is above the score at which the slots end: fewer are held
};
/// Gives all slots, after the last layer, to the best scores of all layers. `equal_layers` as in AllocatorTraits.
std::unique_ptr<Allocator> all_layers_competition(const AllLayersRule& rule, PartChoice equal_layers);

}  // namespace evictlab::sim
