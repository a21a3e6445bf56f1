// H2O (Zhang et al. 2023, arXiv:2306.14048): the positions that have been paid the most attention, and the recent ones.
//
// The default follows KVCache-Factory, which evicts once after the prompt: column sums over all prompt queries, the
// last `window` positions kept. NVIDIA/kvpress' observed attention divides by how many queries could see a position and
// protects nothing. The original code keeps half of the budget for recent positions. decode=yes also evicts while
// decoding, as the original does: at every step the position of least accumulated attention. Deviation of all at
// prefill: the paper evicts greedily at every step from the first token on.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

// The share of the budget that the original keeps for recent positions.
constexpr double kRecentPart = 0.5;

PolicyDefinition h2o() {
  ParameterList parameters = protection_parameters(0, 32);
  parameters.add(scorer_parameters("mass")).add(decode_parameter());
  return {.description = "keeps the positions that all prompt queries attend to most, and the last ones",
          .source = "Zefan-Cai/KVCache-Factory@c97f9d7",
          .parameters = parameters,
          .variants = {{"kvcache-factory", "Zefan-Cai/KVCache-Factory@c97f9d7", {}},
                       {"kvpress", "NVIDIA/kvpress@8bb29b9", {{"window", "0"}}},
                       {"h2o", "FMInference/H2O", {{"window", "0"}, {"reduction", "sum"}}}},
          .build = [](const Parameters& given) {
            const std::string& variant = given.choice(kVariantParameter);
            const bool halves = variant == "h2o";
            return assembled(given, {.scorer = {"mass", {{"per_observer", variant == "kvpress" ? "yes" : "no"}}},
                                     .selector = halves ? PartChoice{"recent-first", {{"recent_part", kRecentPart}}}
                                                        : PartChoice{"top"},
                                     .decoder = {"h2o", {{"recent_part", halves ? kRecentPart : 0.0}}},
                                     .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
