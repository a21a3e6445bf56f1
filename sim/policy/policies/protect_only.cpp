// Only what other policies protect anyway, the first and the last positions, and nothing of the rest of the
// budget: the floor. What a method gains above it is its selection's doing.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition protect_only() {
  ParameterList parameters;
  declare_protection(parameters, 4, 32);
  return {.description = "keeps the protected positions and nothing else, below any budget: the floor",
          .source = "own",
          .role = results::Role::kControl,
          .parameters = parameters,
          .build = [](const Parameters& given) {
            Policy policy;
            policy.allocator = protected_allocator();
            policy.selector = top_selector();
            policy.protection = protection_from(given);
            return policy;
          }};
}

}  // namespace evictlab::sim
