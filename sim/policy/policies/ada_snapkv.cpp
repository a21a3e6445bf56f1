// Ada-SnapKV and Ada-Pyramid (Feng et al. 2024, arXiv:2407.11550): SnapKV's score, with the heads of a layer competing
// for the layer's budget (allocators/adaptive.cpp), which is uniform or PyramidKV's.
//
// The default follows FFY0/AdaKV with grouped queries and its LongBench driver's floor_alpha = 0.2. KVCache-Factory
// normalizes the scores and uses w = 8; NVIDIA/kvpress guarantees every head a part of its capacity instead of
// blending. Deviations of the code from the paper: floor_alpha is the weight of the uniform part (the paper's formula,
// as it is quoted, has it the other way round); budgets come from pooled scores without the window's columns. The
// totals the code arrives at (int and rint drop some) are kept.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

ParameterList adaptive_parameters() {
  ParameterList parameters;
  declare_window_scoring(parameters);
  declare_adaptive(parameters);
  return parameters;
}

Policy adaptive_policy(const Parameters& given, LayerShare share) {
  Policy policy;
  policy.granularity = granularity_from(given);
  policy.scorer = window_attention_scorer(window_scoring_from(given));
  AdaptiveRule rule = adaptive_rule_from(given);
  rule.share = std::move(share);
  policy.selector = top_selector();
  if (given.choice(kVariantParameter) == "kvpress") {
    rule.kind = AdaptiveKind::kEvictBottom;
    policy.selector = guaranteed_selector(rule.floor_alpha);
  }
  policy.allocator = adaptive_allocator(rule);
  policy.protection = protection_from(given);
  return policy;
}

}  // namespace

PolicyDefinition ada_snapkv() {
  return {
      .description = "keeps what the last prompt queries attend to, more in heads that attend more widely",
      .source = "FFY0/AdaKV@efe4e2e",
      .parameters = adaptive_parameters(),
      .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}},
                   {"kvcache-factory", "Zefan-Cai/KVCache-Factory@c97f9d7", {{"window", "8"}, {"normalize", "yes"}}},
                   {"kvpress", "NVIDIA/kvpress@8bb29b9", kvpress_scoring()}},
      .build = [](const Parameters& given) { return adaptive_policy(given, uniform_share()); }};
}

PolicyDefinition ada_pyramid() {
  ParameterList parameters = adaptive_parameters();
  declare_beta(parameters);
  return {.description = "as ada-snapkv, with more for lower layers as pyramidkv",
          .source = "FFY0/AdaKV@efe4e2e",
          .parameters = parameters,
          .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}}},
          .build = [](const Parameters& given) {
            return adaptive_policy(given, pyramid_share(PyramidRule::kAdaKv, given.integer("beta")));
          }};
}

}  // namespace evictlab::sim
