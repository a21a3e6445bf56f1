// StreamingLLM (Xiao et al. 2023, arXiv:2309.17453): attention sinks and a window of recent positions,
//
//   keep [0, sinks) and the last budget - sinks positions
//
// as FFY0/AdaKV (4 + cap - 4) and NVIDIA/kvpress compute it. KVCache-Factory keeps a fixed window of the last w
// positions and the first cap - w; its drivers set w = cap - 4, which is the same again, its class w = 64.
// Deviations: positions keep their original encoding, as in these code bases; the paper re-assigns
// positions inside the cache. AdaKV requires a capacity above 8; here it must only hold the sinks.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition streaming_llm() {
  ParameterList parameters = protection_parameters(4, 0);
  parameters.add(axis_parameter()).add(decode_parameter());
  return {.description = "keeps the first positions and the most recent ones",
          .source = "FFY0/AdaKV@efe4e2e",
          .parameters = parameters,
          .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}},
                       {"kvcache-factory", "Zefan-Cai/KVCache-Factory@c97f9d7", {{"sinks", "0"}, {"window", "64"}}},
                       {"kvpress", "NVIDIA/kvpress@8bb29b9", {}}},
          .build = [](const Parameters& given) {
            const bool earliest = given.choice(kVariantParameter) == "kvcache-factory";
            return assembled(given, {.scorer = {earliest ? "none" : "recency"},
                                     .decoder = {"streaming-llm"},
                                     .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
