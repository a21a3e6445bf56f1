#pragma once

#include <optional>
#include <string>
#include <utility>

#include "sim/policy/eviction_site.hpp"
#include "sim/policy/policy.hpp"
#include "sim/policy/policy_text.hpp"

// What a deployment, or a fair comparison, forces on any policy from outside. Written as parameters of the policy:
//
//   protect=4+32          the first 4 and the last 32 positions are protected, whatever the method protects itself
//   share=kv|layer        the query heads of a kv head, or all heads of a layer, share a kept set: their mean decides
//   blocks=16             positions are kept or evicted in blocks, as paged engines store them: the best score decides
//   layers=uniform        every layer gets the same share of the budget
//   budget_unit=authors   budgets are what the method's source calls a capacity, not stored slots
//   evict_layer=3         only layer 3 is evicted, to the budget; all other layers keep everything
//   evict_head=1          only kv head 1 is: of that layer, or of every layer

namespace evictlab::sim {

struct Constraints {
  std::optional<Protection> protection;
  std::optional<Granularity> share;
  Index block = 1;
  bool uniform_layers = false;
  bool authors_unit = false;
  EvictionSite site = {};

  /// As parameters, "protect=4+32,blocks=16"; empty without any.
  std::string text() const;
};

/// The parameters of a policy that are its own, and the constraints. Throws PolicyError for values not allowed.
std::pair<KeyValues, Constraints> take_constraints(const PolicySpec& spec);

/// Adds to a policy's parameters those it does not have.
PolicySpec with_defaults(PolicySpec spec, const KeyValues& defaults);

/// The policy under constraints. Throws ImpossiblePolicy when it cannot meet one, saying why.
Policy constrained(Policy policy, const Constraints& constraints);

/// "sinks=4,window=32" → "4+32", as the parameter protect has it; what is not named is 0. Throws PolicyError.
std::string protect_value(std::string_view text);
/// "share=layer,blocks=16" → parameters. Throws PolicyError for what is no constraint, and for none.
KeyValues parse_constraints(std::string_view text);

}  // namespace evictlab::sim
