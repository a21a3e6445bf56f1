// The oracle: ranks by the attention that the future queries really pay. With eviction at the end of the
// prompt no policy with the same counts per kept set, granularity and protection retains more mass; with over=heads
// none with the same slots per layer, with over=layers none with the same slots in all. It is not optimal for the exact
// loss of the layer's output. It protects nothing unless told to.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

std::shared_ptr<const Allocator> allocator_over(const std::string& over) {
  if (over == "heads") return adaptive_allocator({.floor_alpha = 0.0});
  if (over == "layers") return all_layers_allocator();
  return uniform_allocator();
}

}  // namespace

PolicyDefinition oracle() {
  ParameterList parameters;
  declare_protection(parameters, 0, 0);
  declare_axis(parameters);
  parameters.choice("over", {"nothing", "heads", "layers"},
                    "what slots are divided over as the future wants: the heads of a layer, all heads of all layers");
  declare_decode(parameters);
  return {.description = "keeps what the future really attends to: the most mass that can be retained",
          .source = "own",
          .role = results::Role::kCeiling,
          .parameters = parameters,
          .build = [](const Parameters& given) {
            Policy policy;
            policy.granularity = granularity_from(given);
            policy.scorer = future_scorer(policy.granularity);
            policy.allocator = allocator_over(given.choice("over"));
            policy.selector = top_selector();
            policy.protection = protection_from(given);
            if (decodes(given)) policy.decoding = hindsight_decode_rule();
            return policy;
          }};
}

}  // namespace evictlab::sim
