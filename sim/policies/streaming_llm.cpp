// StreamingLLM (Xiao et al. 2023, arXiv:2309.17453): attention sinks and a window of recent positions,
//
//   keep [0, sinks) and the last budget - sinks positions
//
// as FFY0/AdaKV (4 + cap - 4) and KVCache-Factory's drivers compute it.
// Deviations: positions keep their original encoding, as in these code bases; the paper re-assigns
// positions inside the cache. AdaKV requires a capacity above 8; here it must only hold the sinks.

#include "sim/parts.hpp"
#include "sim/registry.hpp"

namespace evictlab::sim {

PolicyDefinition streaming_llm() {
  ParameterList parameters;
  parameters.integer("sinks", 4, {0, kMostPositions}, "first positions kept in any case")
      .choice("variant", {"adakv"}, "whose code it follows");
  return {.description = "keeps the first positions and the most recent ones",
          .source = "FFY0/AdaKV@efe4e2e",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            Policy policy;
            policy.variant = given.choice("variant");
            policy.scorer = recency_scorer();
            policy.allocator = uniform_allocator();
            policy.selector = top_selector();
            policy.protection.sinks = given.integer("sinks");
            return policy;
          }};
}

}  // namespace evictlab::sim
