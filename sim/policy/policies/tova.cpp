// TOVA (Oren et al. 2024, arXiv:2401.06104): what the last query attends to, averaged over all heads of a layer; one
// kept set for all of them.
//
// The default follows NVIDIA/kvpress, where the last position always stays; in the original code it competes. They
// agree unless the last position scores below the cut.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition tova() {
  ParameterList parameters = protection_parameters(0, 1);
  parameters.add(decode_parameter());
  return {.description = "keeps what the last prompt query attends to, the same positions for all heads of a layer",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = parameters,
          .variants = {{"kvpress", "NVIDIA/kvpress@8bb29b9", {}}, {"tova", "schwartz-lab-NLP/TOVA", {{"window", "0"}}}},
          .build = [](const Parameters& given) {
            return assembled(given,
                             {.scorer = {"last-query"}, .decoder = {"tova"}, .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
