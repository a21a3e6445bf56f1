// The oracle: ranks by the attention that the future queries really pay. With eviction at the end of the
// prompt no policy with the same counts per kept set, granularity and protection retains more mass. It is
// not optimal for the exact loss of the layer's output. It protects nothing unless told to.

#include "sim/declarations.hpp"
#include "sim/registry.hpp"

namespace evictlab::sim {

PolicyDefinition oracle() {
  ParameterList parameters;
  declare_protection(parameters, 0, 0);
  declare_axis(parameters);
  return {.description = "keeps what the future really attends to: the most mass that can be retained",
          .source = "own",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            Policy policy;
            policy.granularity = granularity_from(given);
            policy.scorer = future_scorer(policy.granularity);
            policy.allocator = uniform_allocator();
            policy.selector = top_selector();
            policy.protection = protection_from(given);
            return policy;
          }};
}

}  // namespace evictlab::sim
