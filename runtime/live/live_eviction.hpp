#pragma once

#include <utility>
#include <vector>

#include "runtime/kv_cache.hpp"
#include "sim/replay/eviction.hpp"

namespace evictlab::runtime {

/// One policy at one budget at work on one running prompt: sim::Eviction decides, layer by layer, and the cache really
/// lets go of what it evicts. The policy must outlive it.
class LiveEviction {
 public:
  /// `layers` will be observed; `slots` per kv head averaged over them.
  LiveEviction(const sim::Policy& policy, Index layers, double slots) : eviction_(policy, layers, slots) {}

  /// The next layer has been read, and `cache` holds it whole: compacts it, and those before it as far as the policy
  /// says now. Throws as sim::Eviction does.
  void observe(const trace::LayerView& layer, const sim::Importance& importance, KvCache& cache);
  /// After the last layer: the allocator's last word.
  void finish(KvCache& cache);

  const sim::Eviction& eviction() const { return eviction_; }
  /// What is held now.
  sim::Retention retention() const;

 private:
  /// What a kept set holds of its ranking, and stored twice: unchanged, nothing is to be moved.
  using Held = std::vector<std::pair<Index, std::size_t>>;  // [sets]

  void compact(KvCache& cache);
  void compact(std::size_t layer, KvCache& cache);

  sim::Eviction eviction_;
  std::vector<Held> held_;  // by layer observed, as the cache holds it
};

/// Makes the heads of one layer hold what `kept` says: kept sets of query heads become slots of their own, those of a
/// layer are held by every kv head.
void keep_layer(KvCache& cache, const sim::LayerRetention& kept, sim::Granularity granularity);

}  // namespace evictlab::runtime
