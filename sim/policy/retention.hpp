#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/policy/importance.hpp"

namespace evictlab::sim {

/// The kept positions of one layer, in storage order: protected sinks, then the selected by falling
/// importance, then the protected recent ones; a set that loses nothing stays in the order of time. A method
/// that stores a position more than once (DynamicKV's code can) lists it so.
struct LayerRetention {
  Index layer = 0;                      // of the model
  std::vector<std::int32_t> positions;  // of all sets, one after the other
  std::vector<std::int64_t> offsets;    // [sets + 1]
  std::vector<std::int32_t> budgets;    // [sets]: as allocated; a set may hold fewer

  Index sets() const { return static_cast<Index>(budgets.size()); }
  std::span<const std::int32_t> kept(Index set) const;
  /// Each position once.
  std::vector<std::int32_t> kept_ascending(Index set) const;
};

/// What a policy leaves of one prompt: the outcome of an eviction.
struct Retention {
  Granularity granularity = Granularity::kKvHead;
  std::vector<LayerRetention> layers;  // in the order observed
};

}  // namespace evictlab::sim
