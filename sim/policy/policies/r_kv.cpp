// R-KV (Cai et al. 2025, arXiv:2505.24133): window attention against the redundancy of keys (scorers/redundancy.cpp),
// the same number in every layer and head.
//
// Follows one eviction of Zefan-Cai/R-KV@d15c976. Deviations: the code evicts again while decoding, whenever its
// running count of tokens hits a multiple of 128, and never resets that count between prompts; here once after the
// prompt. The paper's lambda is 0.1, the code's 0.07. exempt=last also is its "last_percent": the same.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition r_kv() {
  ParameterList parameters = scorer_parameters("redundancy");
  parameters.add(sinks_parameter());
  return {.description = "keeps what the window attends to, less what other keys repeat",
          .source = "Zefan-Cai/R-KV@d15c976",
          .parameters = parameters,
          .variants = {{"code", "Zefan-Cai/R-KV@d15c976", {}}, {"paper", "arXiv:2505.24133", {{"lambda", "0.1"}}}},
          .build = [](const Parameters& given) {
            return assembled(given, {.scorer = {"redundancy"}, .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
