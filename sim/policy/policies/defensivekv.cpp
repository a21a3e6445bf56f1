// DefensiveKV and Layer-DefensiveKV (Feng et al. 2025, arXiv:2510.13334): a position's worst case over the window's
// queries times its output norm (scorers/worst_case.cpp), after a first stage that takes what holds most of the mean
// attention (defensive/critical.cpp). The heads of a layer, or of all layers after the last one, compete.
//
// variant=code follows FFY0/DefensiveKV@9251b95 position for position. Under it nothing is kept for certain: the first
// stage's limit is negative on prompts that are short for their budget (up to n = 652 at 5 %), which turns it into all
// positions but a few; and the window's positions tie with the layer's best, so that a layer whose best is small loses
// its window, or all, to other layers. The default mends both: limit 0, and the window is protected.
// Deviations of the code from the paper: norms are divided by their sum over the kv heads (the paper: not at all, or
// over positions for Layer-DefensiveKV, norm=none|positions); the first stage and the renormalised pooling are not in
// it; the paper always keeps the most recent positions.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

PolicyDefinition defensive(const char* description, const char* allocator) {
  ParameterList parameters = scorer_parameters("worst-case");
  parameters.add(yes_no_parameter("protect_window", true, "keep the window's positions in any case"))
      .add(selector_parameters("critical-first"));
  return {.description = description,
          .source = "FFY0/DefensiveKV@9251b95",
          .parameters = parameters,
          .variants = {{"repaired", "FFY0/DefensiveKV@9251b95, mended", {}},
                       {"code", "FFY0/DefensiveKV@9251b95", {{"protect_window", "no"}, {"repair_limit", "no"}}}},
          .build = [allocator](const Parameters& given) {
            return assembled(given,
                             {.scorer = {"worst-case"},
                              .refiner = {"critical-rank"},
                              .allocator = {allocator},
                              .selector = {"critical-first"},
                              .protection = {.recent = is_yes(given, "protect_window") ? given.integer("window") : 0}});
          }};
}

}  // namespace

PolicyDefinition defensivekv() {
  return defensive(
      "keeps what any query of the window may need most, weighted by output norms; heads of a layer compete",
      "critical-heads");
}

PolicyDefinition layer_defensivekv() {
  return defensive("as defensivekv, with the heads of all layers competing for one budget", "critical-layers");
}

}  // namespace evictlab::sim
