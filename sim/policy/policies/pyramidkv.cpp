// PyramidKV (Cai et al. 2024, arXiv:2406.02069): SnapKV's score, with budgets that fall linearly from the first layer
// to the last (allocators/pyramid.cpp has the three arithmetics).
//
// The default follows FFY0/AdaKV, recomputed for every prompt (its code keeps the first prompt's budgets).
// KVCache-Factory is flat for short prompts and its drivers use w = 8; NVIDIA/kvpress counts the window and, with its
// w = 64, is flat below 1280 kept positions.
// Deviation of all code from the paper: the paper's last layer gets total / (beta L), and alpha = 8 instruction
// tokens are kept in every layer.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition pyramidkv() {
  ParameterList parameters;
  declare_window_scoring(parameters);
  declare_beta(parameters);
  return {.description = "keeps what the last prompt queries attend to, more in lower layers than in higher ones",
          .source = "FFY0/AdaKV@efe4e2e",
          .parameters = parameters,
          .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}},
                       {"kvcache-factory", "Zefan-Cai/KVCache-Factory@c97f9d7", {{"window", "8"}}},
                       {"kvpress", "NVIDIA/kvpress@8bb29b9", kvpress_scoring()}},
          .build = [](const Parameters& given) {
            const std::string& variant = given.choice(kVariantParameter);
            const PyramidRule rule = variant == "adakv"     ? PyramidRule::kAdaKv
                                     : variant == "kvpress" ? PyramidRule::kKvPress
                                                            : PyramidRule::kKvCacheFactory;
            Policy policy;
            policy.granularity = granularity_from(given);
            policy.scorer = window_attention_scorer(window_scoring_from(given));
            policy.allocator = layered_allocator(pyramid_share(rule, given.integer("beta")));
            policy.selector = top_selector();
            policy.protection = protection_from(given);
            return policy;
          }};
}

}  // namespace evictlab::sim
