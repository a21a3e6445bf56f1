// Positions drawn uniformly without replacement: what a method must beat. The draw is a fixed random order
// of the positions per (seed, prompt length, layer, kv head), cut at the budget.
// NVIDIA/kvpress' RandomPress re-creates its generator in every layer, so that all layers keep the same positions; in
// our own every layer and head has its own stream.

#include <limits>

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition random_positions() {
  ParameterList parameters;
  parameters.integer("seed", 1, {0, std::numeric_limits<std::int64_t>::max()}, "of the SplitMix64 streams");
  declare_protection(parameters, 0, 0);
  return {.description = "keeps positions drawn at random: what a method must beat",
          .source = "own",
          .role = results::Role::kControl,
          .parameters = parameters,
          .variants = {{"own", "own", {}}, {"kvpress", "NVIDIA/kvpress@8bb29b9", {}}},
          .build = [](const Parameters& given) {
            Policy policy;
            const auto seed = static_cast<std::uint64_t>(given.integer("seed"));
            policy.scorer =
                given.choice(kVariantParameter) == "kvpress" ? torch_random_scorer(seed) : random_scorer(seed);
            policy.allocator = uniform_allocator();
            policy.selector = top_selector();
            policy.protection = protection_from(given);
            return policy;
          }};
}

}  // namespace evictlab::sim
