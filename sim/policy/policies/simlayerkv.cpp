// SimLayerKV (Zhang et al. 2024, arXiv:2410.13846): lazy layers (allocators/lazy_layers.cpp) keep the first and the
// most recent positions, all others everything. It has no budget: what it holds depends on the model and the prompt,
// and on prompts no longer than initial + recent + last it evicts nothing.
//
// Follows NVIDIA/kvpress, whose lazy layers keep `recent - last` recent positions, fewer than it measures.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

// NVIDIA/kvpress' documentation of its lazy_threshold.
double threshold_of(const std::string& model) {
  if (model == "llama2") return 0.65;
  if (model == "mistral") return 0.8;
  if (model == "qwen") return 0.85;
  return model == "llama3" ? 0.9 : 1.0;
}

}  // namespace

PolicyDefinition simlayerkv() {
  ParameterList parameters;
  parameters.choice("model", {"llama3", "llama2", "mistral", "qwen", "none"}, "whose published threshold; none: 1")
      .number("threshold", 0.0, {0.0, 1.0}, "of the attention on first and recent positions; 0: the model's, 1: off")
      .integer("initial", 4, {0, kMaxPositions}, "first positions that a lazy layer keeps")
      .integer("recent", 1024, {1, kMaxPositions}, "recent positions looked at; a lazy layer keeps recent - last")
      .integer("last", 1, {1, 4096}, "last queries looked at");
  return {.description = "keeps everything, but only first and recent positions in layers that attend to little else",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            LazyRule rule{.threshold = given.number("threshold"),
                          .initial = given.integer("initial"),
                          .recent = given.integer("recent"),
                          .last = given.integer("last")};
            if (rule.threshold == 0.0) rule.threshold = threshold_of(given.choice("model"));
            if (rule.last > rule.recent) {
              throw PolicyError("policy 'simlayerkv': last must be at most recent ({}), got {}", rule.recent,
                                rule.last);
            }
            Policy policy;
            policy.allocator = lazy_allocator(rule);
            policy.selector = top_selector();
            policy.protection = {rule.initial, rule.recent - rule.last};
            policy.fixed_protection = true;
            return policy;
          }};
}

}  // namespace evictlab::sim
