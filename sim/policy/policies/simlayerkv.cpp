// SimLayerKV (Zhang et al. 2024, arXiv:2410.13846): lazy layers (allocators/lazy_layers.cpp) keep the first and the
// most recent positions, all others everything. It has no budget: what it holds depends on the model and the prompt,
// and on prompts no longer than initial + recent + last it evicts nothing.
//
// Follows NVIDIA/kvpress, whose lazy layers keep `recent - last` recent positions, fewer than it measures.

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
      .add(allocator_parameters("lazy-layers"))
      .zero_means("threshold", "the model's");
  return {.description = "keeps everything, but only first and recent positions in layers that attend to little else",
          .source = "NVIDIA/kvpress@8bb29b9",
          .parameters = parameters,
          .build = [](const Parameters& given) {
            const double threshold = given.number("threshold");
            const double used = threshold > 0.0 ? threshold : threshold_of(given.choice("model"));
            return assembled(given, {.allocator = {"lazy-layers", {{"threshold", used}}}});
          }};
}

}  // namespace evictlab::sim
