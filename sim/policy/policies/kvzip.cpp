// KVzip (Kim et al. 2025, arXiv:2505.23416): positions by the attention that repeating the prompt pays them
// (scorers/repeat_attention.cpp); the heads of all layers compete for one budget.
//
// variant=code follows the selection of snu-mllab/KVzip@5d84729: of the B slots that are not protected, what scores
// strictly above the B-th best is kept, so one slot is never used, and more where scores are equal there. sinks and
// window are its system prompt and what follows the context, which it keeps whatever the budget. over=nothing is its
// "pair-uniform". variant=kvpress follows NVIDIA/kvpress@8bb29b9: exactly B, of equal scores at the cut the higher
// position (and layer) stays, and the first 4 positions score 1; over=heads is its "layerwise".
// No head is guaranteed anything. The repeating pass is recorded (record --repeat-context), not computed here.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

Policy kvzip_policy(const Parameters& given) {
  const bool exact = given.choice(kVariantParameter) == "kvpress";
  const std::string& over = given.choice("over");
  const char* ties = exact ? "higher" : "lower";
  PartChoice allocator{"uniform"};
  if (over == "layers") allocator = {"all-layers", {{"ties", ties}, {"strict", exact ? "no" : "yes"}, {"real", "yes"}}};
  if (over == "heads") allocator = {"guaranteed", {{"ties", ties}, {"floor_alpha", 0.0}, {"real", "yes"}}};
  return assembled(given, {.scorer = {"repeat"},
                           .allocator = allocator,
                           .selector = exact ? PartChoice{"guaranteed", {{"floor_alpha", 0.0}}} : PartChoice{"top"},
                           .protection = protection_from(given)});
}

}  // namespace

PolicyDefinition kvzip() {
  ParameterList parameters = protection_parameters(0, 0);
  parameters.add(scorer_parameters("repeat"))
      .choice("over", {"layers", "heads", "nothing"},
              "who competes for slots: the heads of all layers, of each, or none");
  return {.description =
              "keeps what the model attends to most while it repeats the prompt; all heads of all layers compete",
          .source = "snu-mllab/KVzip@5d84729",
          .parameters = parameters,
          .variants = {{"code", "snu-mllab/KVzip@5d84729", {}}, {"kvpress", "NVIDIA/kvpress@8bb29b9", {{"top", "4"}}}},
          .build = kvzip_policy};
}

}  // namespace evictlab::sim
