// CriticalKV and CriticalAdaKV (Feng et al. 2025, arXiv:2502.03805): SnapKV's score fills half of the budget, the rest
// goes to positions whose score times the norm of what they would add to the layer's output is largest
// (selectors/two_stage.cpp). CriticalAdaKV lets heads compete for the layer's budget first.
//
// Follows NVIDIA/kvpress, which scores the window's own positions one more than the best instead of protecting
// them: they are in the first stage, so that they are kept unless the budget is hardly larger than the window.
// Deviation: with grouped queries score and norm are two means over the group, not the mean of their products.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

ParameterList critical_parameters() {
  ParameterList parameters = window_voting_parameters(kvpress_scoring());
  return parameters.add(selector_parameters("two-stage"));
}

Policy critical_policy(const Parameters& given, const PartChoice& allocator, const PartChoice& selector) {
  return assembled(given, {.scorer = {"window", {{"score_window", "yes"}}},
                           .refiner = {"output-norm"},
                           .allocator = allocator,
                           .selector = selector,
                           .protection = {.sinks = given.integer("sinks")}});
}

}  // namespace

PolicyDefinition criticalkv() {
  return {.description = "fills half of the budget as snapkv does, the rest by attention times the value's effect",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = critical_parameters(),
          .variants = {{"kvpress", "NVIDIA/kvpress@8bb29b9", {}}},
          .build = [](const Parameters& given) { return critical_policy(given, {"uniform"}, {"two-stage"}); }};
}

PolicyDefinition critical_adakv() {
  ParameterList parameters = critical_parameters();
  parameters.add(allocator_parameters("guaranteed"));
  return {.description = "as criticalkv, with the heads of a layer competing for its budget",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = parameters,
          .variants = {{"kvpress", "NVIDIA/kvpress@8bb29b9", {}}},
          .build = [](const Parameters& given) {
            return critical_policy(given, {"guaranteed"},
                                   {"two-stage", {{"budget", "own"}, {"floor_alpha", given.number("floor_alpha")}}});
          }};
}

}  // namespace evictlab::sim
