// TOVA (Oren et al. 2024, arXiv:2401.06104): what the last query attends to, averaged over all heads of a layer; one
// kept set for all of them.
//
// The default follows NVIDIA/kvpress, where the last position always stays; in the original code it competes. They
// agree unless the last position scores below the cut.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition tova() {
  ParameterList parameters;
  declare_protection(parameters, 0, 1);
  declare_decode(parameters);
  return {.description = "keeps what the last prompt query attends to, the same positions for all heads of a layer",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = parameters,
          .variants = {{"kvpress", "NVIDIA/kvpress@8bb29b9", {}}, {"tova", "schwartz-lab-NLP/TOVA", {{"window", "0"}}}},
          .build = [](const Parameters& given) {
            Policy policy;
            policy.granularity = Granularity::kLayer;
            policy.scorer = last_query_scorer();
            policy.allocator = uniform_allocator();
            policy.selector = top_selector();
            policy.protection = protection_from(given);
            if (decodes(given)) policy.decoding = tova_decode_rule();
            return policy;
          }};
}

}  // namespace evictlab::sim
