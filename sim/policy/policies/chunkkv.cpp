// ChunkKV (Liu et al. 2025, arXiv:2502.00299): SnapKV's score summed over the kv heads, its mean over chunks of
// successive positions, and the best chunks kept, the same for all heads.
//
// Follows NVIDIA/kvpress: the window's own positions score one more than the best; the budget's share of all chunks is
// kept, rounded down, at least one, so that the number of positions is a multiple of the chunk give or take the last,
// partial one. Deviation: a prompt shorter than a chunk is kept whole, where kvpress falls back to SnapKV.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition chunkkv() {
  ParameterList parameters;
  declare_window_scoring(parameters, kvpress_scoring());
  parameters.integer("chunk", 20, {1, kMaxPositions}, "positions kept together");
  return {.description = "keeps whole chunks that the last prompt queries attend to, the same for all heads of a layer",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            WindowScoring scoring = window_scoring_from(given);
            scoring.score_window = true;
            Policy policy;
            policy.granularity = Granularity::kLayer;
            policy.scorer = shared_scorer(window_attention_scorer(scoring), policy.granularity);
            policy.allocator = uniform_allocator();
            policy.selector =
                block_selector({.size = given.integer("chunk"), .by_mean = true, .count = BlockCount::kShareOfAll});
            policy.protection.sinks = given.integer("sinks");
            return policy;
          }};
}

}  // namespace evictlab::sim
