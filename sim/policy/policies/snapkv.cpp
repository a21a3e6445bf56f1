// SnapKV (Li et al. 2024, arXiv:2404.14469): the last w queries of the prompt vote for the positions before
// them; the window and the top budget - w voted positions are kept, the same number in every layer and head.
// A prompt no longer than the budget is kept whole. The score is scorers/window_attention.cpp's.
//
// The default follows FFY0/AdaKV with grouped queries: one set per kv head, reduced before pooling, w = 32,
// k = 7, max pooling as in the published runs. KVCache-Factory's drivers use w = 8. NVIDIA/kvpress pools each
// query head before the mean, averages only, and defaults to w = 64, k = 5.
// Deviations from the paper: it keeps a share of the prompt where all code keeps a constant number; the original
// code defaults to average pooling with k = 5.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition snapkv() {
  return {
      .description =
          "scores positions by pooled attention of the last prompt queries; the same number in every layer and head",
      .source = "FFY0/AdaKV@efe4e2e",
      .parameters = window_voting_parameters(),
      .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}},
                   {"kvcache-factory", "Zefan-Cai/KVCache-Factory@c97f9d7", {{"window", "8"}}},
                   {"kvpress", "NVIDIA/kvpress@8bb29b9", kvpress_scoring()}},
      .build = [](const Parameters& given) {
        return assembled(given, {.scorer = {"window"}, .protection = protection_from(given)});
      }};
}

}  // namespace evictlab::sim
