// CriticalKV and CriticalAdaKV (Feng et al. 2025, arXiv:2502.03805): SnapKV's score fills half of the budget, the rest
// goes to positions whose score times the norm of what they would add to the layer's output is largest
// (selectors/two_stage.cpp). CriticalAdaKV lets heads compete for the layer's budget first.
//
// Follows NVIDIA/kvpress, which scores the window's own positions one more than the best instead of protecting
// them: they are in the first stage, so that they are kept unless the budget is hardly larger than the window.
// Deviation: with grouped queries score and norm are two means over the group, not the mean of their products.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

ParameterList critical_parameters() {
  ParameterList parameters;
  declare_window_scoring(parameters, kvpress_scoring());
  declare_two_stage(parameters);
  return parameters;
}

Policy critical_policy(const Parameters& given, const TwoStageRule& rule) {
  Policy policy;
  policy.granularity = granularity_from(given);
  WindowScoring scoring = window_scoring_from(given);
  scoring.score_window = true;
  policy.scorer = window_attention_scorer(scoring);
  policy.refiner = output_norm_scorer(policy.granularity);
  policy.selector = two_stage_selector(rule);
  policy.allocator = uniform_allocator();
  policy.protection.sinks = given.integer("sinks");
  return policy;
}

}  // namespace

PolicyDefinition criticalkv() {
  return {.description = "fills half of the budget as snapkv does, the rest by attention times the value's effect",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = critical_parameters(),
          .variants = {{"kvpress", "NVIDIA/kvpress@8bb29b9", {}}},
          .build = [](const Parameters& given) { return critical_policy(given, two_stage_rule_from(given)); }};
}

PolicyDefinition critical_adakv() {
  ParameterList parameters = critical_parameters();
  declare_floor_alpha(parameters);
  return {.description = "as criticalkv, with the heads of a layer competing for its budget",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = parameters,
          .variants = {{"kvpress", "NVIDIA/kvpress@8bb29b9", {}}},
          .build = [](const Parameters& given) {
            TwoStageRule rule = two_stage_rule_from(given);
            rule.own_budget = true;
            rule.floor_alpha = given.number("floor_alpha");
            Policy policy = critical_policy(given, rule);
            policy.allocator = adaptive_allocator({.kind = AdaptiveKind::kTakeTop, .floor_alpha = rule.floor_alpha});
            return policy;
          }};
}

}  // namespace evictlab::sim
