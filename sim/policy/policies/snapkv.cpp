// SnapKV (Li et al. 2024, arXiv:2404.14469): the last w queries of the prompt vote for the positions before
// them; the window and the top budget - w voted positions are kept, the same number in every layer and head.
// A prompt no longer than the budget is kept whole. The score is scorers/window_attention.cpp's.
//
// The default follows FFY0/AdaKV with grouped queries: one set per kv head, reduced before pooling, w = 32,
// k = 7, max pooling as in the published runs. KVCache-Factory's drivers use w = 8. NVIDIA/kvpress pools each
// query head before the mean, averages only, and defaults to w = 64, k = 5.
// Deviations from the paper: it keeps a share of the prompt where all code keeps a constant number; the original
// code defaults to average pooling with k = 5.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition snapkv() {
  ParameterList parameters;
  declare_window_scoring(parameters);
  return {.description = "keeps what the last prompt queries attend to, pooled, and these last positions",
          .source = "FFY0/AdaKV@efe4e2e",
          .parameters = parameters,
          .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}},
                       {"kvcache-factory", "Zefan-Cai/KVCache-Factory@c97f9d7", {{"window", "8"}}},
                       {"kvpress", "NVIDIA/kvpress@8bb29b9", kvpress_scoring()}},
          .build = [](const Parameters& given) {
            Policy policy;
            policy.granularity = granularity_from(given);
            policy.scorer = window_attention_scorer(window_scoring_from(given));
            policy.allocator = uniform_allocator();
            policy.selector = top_selector();
            policy.protection = protection_from(given);
            return policy;
          }};
}

}  // namespace evictlab::sim
