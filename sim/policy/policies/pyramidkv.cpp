// PyramidKV (Cai et al. 2024, arXiv:2406.02069): SnapKV's score, with budgets that fall linearly from the first layer
// to the last (allocators/layer_share.cpp has the three arithmetics).
//
// The default follows FFY0/AdaKV, recomputed for every prompt (its code keeps the first prompt's budgets).
// KVCache-Factory is flat for short prompts and its drivers use w = 8; NVIDIA/kvpress counts the window and, with its
// w = 64, is flat below 1280 kept positions.
// Deviation of all code from the paper: the paper's last layer gets total / (beta L), and alpha = 8 instruction
// tokens are kept in every layer.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition pyramidkv() {
  ParameterList parameters = window_voting_parameters();
  parameters.add(allocator_parameters("pyramid"));
  return {.description = "snapkv with budgets that fall linearly from the first layer to the last",
          .source = "FFY0/AdaKV@efe4e2e",
          .parameters = parameters,
          .variants = {{"adakv", "FFY0/AdaKV@efe4e2e", {}},
                       {"kvcache-factory", "Zefan-Cai/KVCache-Factory@c97f9d7", {{"window", "8"}}},
                       {"kvpress", "NVIDIA/kvpress@8bb29b9", kvpress_scoring()}},
          .build = [](const Parameters& given) {
            // Variants are named after the sources whose arithmetic they follow.
            return assembled(given, {.scorer = {"window"},
                                     .allocator = {"pyramid", {{"rule", given.choice(kVariantParameter)}}},
                                     .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
