// ChunkKV (Liu et al. 2025, arXiv:2502.00299): SnapKV's score summed over the kv heads, its mean over chunks of
// successive positions, and the best chunks kept, the same for all heads.
//
// Follows NVIDIA/kvpress: the window's own positions score one more than the best; the budget's share of all chunks is
// kept, rounded down, at least one, so that the number of positions is a multiple of the chunk give or take the last,
// partial one. Deviation: a prompt shorter than a chunk is kept whole, where kvpress falls back to SnapKV.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition chunkkv() {
  ParameterList parameters = window_voting_parameters(kvpress_scoring());
  parameters.integer("chunk", 20, {1, kMaxPositions}, "positions kept together");
  return {.description =
              "keeps chunks of positions by the mean of their window attention, the same for all heads of a layer",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            return assembled(
                given,
                {.scorer = {"window", {{"score_window", "yes"}}},
                 .selector = {"blocks", {{"block", given.integer("chunk")}, {"worth", "mean"}, {"count", "share"}}},
                 .protection = {.sinks = given.integer("sinks")},
                 .per_layer = true});
          }};
}

}  // namespace evictlab::sim
