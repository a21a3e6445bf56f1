#pragma once

#include <memory>
#include <optional>
#include <string>

#include "sim/policy/policy.hpp"

// Evicting in one place only: in one layer, in one kv head of every layer, or in one kv head of one layer. Everything
// else keeps all its positions, so that what is lost is lost there.

namespace evictlab::sim {

struct EvictionSite {
  std::optional<Index> layer;  // of the model; none: every layer
  std::optional<Index> head;   // kv head; none: every head

  bool everywhere() const { return !layer && !head; }
  /// "evict_layer=3,evict_head=1"; empty: everywhere.
  std::string text() const;
};

/// The policy with its scorer, selector and protection at the site, where every kept set gets the budget: an equal
/// count, whatever the policy's own allocator would give. Throws ImpossiblePolicy for a policy that the budget means
/// nothing to, that shares selections between layers, that goes on evicting while it decodes, or whose heads share a
/// kept set where one head is asked for. begin() of the allocator throws PolicyError for a layer that the model does
/// not have, observe() for a head.
Policy evicting_only_at(const EvictionSite& site, Policy policy);

}  // namespace evictlab::sim
