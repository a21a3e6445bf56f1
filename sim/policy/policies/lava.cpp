// LAVa (Shen et al. 2025, arXiv:2509.09754): window attention times the largest value norm of the head; layers share
// the budget by the entropy of these scores, cascading, and heads of a layer compete (allocators/entropy.cpp).
//
// variant=code follows MGDDestiny/Lava@71d3cc8 with grouped queries and its driver's w = 32, k = 7, max pooling and
// floor_alpha = 0.2: pooled per query head, times max over the prefix of || v_j ||_1, then the group's maximum. It
// holds more than asked for, which is not mended here (allocators/entropy.cpp has why; floor=layer mends it).
// variant=paper takes the value norms of all positions, and neither pools nor keeps a part of the budget from
// competition: its formulas have none of these.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition lava() {
  ParameterList parameters = window_voting_parameters({{"order", "pool-first"}, {"reduction", "max"}});
  parameters.choice("value_norms", {"prefix", "all"}, "positions whose largest value norm weighs a head")
      .add(allocator_parameters("entropy"));
  return {.description = "window attention times the head's largest value norm; layers share the budget by entropy",
          .source = "MGDDestiny/Lava@71d3cc8",
          .parameters = parameters,
          .variants = {{"code", "MGDDestiny/Lava@71d3cc8", {}},
                       {"paper",
                        "arXiv:2509.09754",
                        {{"kernel", "1"}, {"value_norms", "all"}, {"floor_alpha", "0"}, {"floor", "layer"}}}},
          .build = [](const Parameters& given) {
            return assembled(given, {.scorer = {"window", {{"value_norms", given.choice("value_norms")}}},
                                     .allocator = {"entropy"},
                                     .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
