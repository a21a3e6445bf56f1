#pragma once

#include <memory>
#include <string>

#include "sim/allocator.hpp"
#include "sim/error.hpp"
#include "sim/scorer.hpp"
#include "sim/selector.hpp"
#include "trace/model.hpp"

namespace evictlab::sim {

/// A point in scorer x allocator x selector, with what is protected and who shares a kept set. A value:
/// copies share the parts, which never change.
struct Policy {
  std::string name;        // "snapkv"
  std::string parameters;  // canonical: all of them, "window=32,kernel=7,..."; may be empty
  std::string changes;     // those that differ from the defaults
  std::string variant;     // which source it follows; empty for our own

  std::shared_ptr<const Scorer> scorer;  // none: every candidate counts the same, earlier ones first
  std::shared_ptr<const Allocator> allocator;
  std::shared_ptr<const Selector> selector;
  Protection protection;
  Granularity granularity = Granularity::kKvHead;

  /// What all parts together read.
  Needs needs() const;
  /// "snapkv(window=32,kernel=7,...)": parses back to this policy.
  std::string text() const;
  /// "snapkv" or "snapkv(kernel=5)": short, for people.
  std::string label() const;
};

/// Throws PolicyError when the parts do not fit together, saying why.
void check_parts(const Policy& policy);

/// Throws PolicyError naming both sides when a recorded prompt lacks what the policy reads.
void check_needs(const Policy& policy, const trace::PromptInfo& prompt);

/// Whether `slots` per kv head hold at least what the policy protects in this layer.
bool is_feasible(const Policy& policy, const trace::LayerShape& shape, Index slots);

}  // namespace evictlab::sim
