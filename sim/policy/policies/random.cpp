// Positions drawn uniformly without replacement: what a method must beat. The draw is a fixed random order
// of the positions per (seed, prompt length, layer, kv head), cut at the budget.
// NVIDIA/kvpress' RandomPress re-creates its generator in every layer, so that all layers keep the same positions; in
// our own every layer and head has its own stream.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition random_positions() {
  ParameterList parameters = scorer_parameters("random");
  parameters.add(protection_parameters(0, 0));
  return {.description = "keeps positions drawn at random: what a method must beat",
          .source = "own",
          .role = results::Role::kControl,
          .parameters = parameters,
          .variants = {{"own", "own", {}}, {"kvpress", "NVIDIA/kvpress@8bb29b9", {}}},
          .build = [](const Parameters& given) {
            const bool kvpress = given.choice(kVariantParameter) == "kvpress";
            return assembled(given,
                             {.scorer = {kvpress ? "torch-random" : "random"}, .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
