// The oracle: ranks by the attention that the future queries really pay. With eviction at the end of the
// prompt no policy with the same counts per kept set, granularity and protection retains more mass; with over=heads
// none with the same slots per layer, with over=layers none with the same slots in all. It is not optimal for the exact
// loss of the layer's output. It protects nothing unless told to.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

PartChoice allocator_over(const std::string& over) {
  if (over == "heads") return {"adaptive", {{"floor_alpha", 0.0}}};
  if (over == "layers") return {"all-layers"};
  return {"uniform"};
}

}  // namespace

PolicyDefinition oracle() {
  ParameterList parameters = protection_parameters(0, 0);
  parameters.add(scorer_parameters("future"));
  parameters.choice("over", {"nothing", "heads", "layers"},
                    "what slots are divided over as the future wants: the heads of a layer, all heads of all layers");
  parameters.add(decode_parameter());
  return {.description = "keeps what the future really attends to: the most mass that can be retained",
          .source = "own",
          .role = results::Role::kCeiling,
          .parameters = parameters,
          .build = [](const Parameters& given) {
            return assembled(given, {.scorer = {"future"},
                                     .allocator = allocator_over(given.choice("over")),
                                     .decoder = {"hindsight"},
                                     .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
