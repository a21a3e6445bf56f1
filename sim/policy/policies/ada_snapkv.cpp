// Ada-SnapKV and Ada-Pyramid (Feng et al. 2024, arXiv:2407.11550): SnapKV's score, with the heads of a layer competing
// for the layer's budget (allocators/adaptive.cpp), which is uniform or PyramidKV's.
//
// The default follows FFY0/AdaKV with grouped queries and its LongBench driver's floor_alpha = 0.2. KVCache-Factory
// normalizes the scores and uses w = 8; NVIDIA/kvpress guarantees every head a part of its capacity instead of
// blending. Deviations of the code from the paper: floor_alpha is the weight of the uniform part (the paper's formula,
// as it is quoted, has it the other way round); budgets come from pooled scores without the window's columns. The
// totals the code arrives at (int and rint drop some) are kept.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

ParameterList adaptive_parameters(const char* allocator) {
  ParameterList parameters = window_voting_parameters();
  return parameters.add(allocator_parameters(allocator));
}

Policy adaptive_policy(const Parameters& given, const PolicyParts& parts) {
  PolicyParts all = parts;
  all.scorer = {"window"};
  all.protection = protection_from(given);
  return assembled(given, all);
}

}  // namespace

PolicyDefinition ada_snapkv() {
  return {
      .description = "snapkv with the heads of a layer competing for its budget",
      .source = "FFY0/AdaKV@efe4e2e",
      .parameters = adaptive_parameters("adaptive"),
      .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}},
                   {"kvcache-factory", "Zefan-Cai/KVCache-Factory@c97f9d7", {{"window", "8"}, {"normalize", "yes"}}},
                   {"kvpress", "NVIDIA/kvpress@8bb29b9", kvpress_scoring()}},
      .build = [](const Parameters& given) {
        if (given.choice(kVariantParameter) != "kvpress") return adaptive_policy(given, {.allocator = {"adaptive"}});
        return adaptive_policy(given,
                               {.allocator = {"guaranteed", {{"ties", "higher"}, {"skip", given.integer("skip")}}},
                                .selector = {"guaranteed"}});
      }};
}

PolicyDefinition ada_pyramid() {
  return {.description = "ada-snapkv with the layer budgets of pyramidkv",
          .source = "FFY0/AdaKV@efe4e2e",
          .parameters = adaptive_parameters("adaptive-pyramid"),
          .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}}},
          .build = [](const Parameters& given) { return adaptive_policy(given, {.allocator = {"adaptive-pyramid"}}); }};
}

}  // namespace evictlab::sim
