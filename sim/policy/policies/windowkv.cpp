// WindowKV (Zuo et al. 2025, arXiv:2503.17922): the last queries judge blocks of positions for all heads together
// (scorers/window_blocks.cpp); the first layer of a group selects for the whole group; groups get falling budgets
// (allocators/layer_groups.cpp).
//
// variant=code follows optim996/WindowKV@7513467: a layer keeps all blocks but ceil(excess / block), which can
// overshoot its budget by a block less one; a group's first layer that would drop all blocks keeps the suffix alone and
// leaves the selection of the group before to its followers. Its classifier chooses the strategy by the prompt; here
// `task` or `strategy` does. variant=paper: as many whole blocks as fit; the first layer always selects. Ours: a model
// whose layers do not make at least two whole groups of shared_layers uses groups of a quarter of its layers, or the
// next smaller divisor, and says so.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

Policy windowkv_policy(const Parameters& given) {
  const std::string& strategy = given.choice("strategy");
  const bool by_largest = strategy == "max" || (strategy == "task" && given.choice("task") == "qa");
  const bool paper = given.choice(kVariantParameter) == "paper";
  const Index suffix = given.integer("suffix") > 0 ? given.integer("suffix") : by_largest ? 32 : 16;
  const Index top = by_largest ? given.integer("top") : 0;
  Policy policy = assembled(given, {.scorer = {"window-blocks", {{"window", suffix}, {"top", top}}},
                                    .allocator = {"layer-groups", {{"exact", paper ? "yes" : "no"}}},
                                    .selector = {"blocks", {{"count", paper ? "fitting" : "all-but-dropped"}}},
                                    .protection = {given.integer("sinks"), suffix}});
  policy.uncounted = suffix;
  return policy;
}

}  // namespace

PolicyDefinition windowkv() {
  const ParameterList& scoring = scorer_parameters("window-blocks");
  const ParameterList& groups = allocator_parameters("layer-groups");
  ParameterList parameters;
  parameters.choice("strategy", {"task", "max", "average"}, "what a block is worth; task: as its kind of task asks for")
      .choice("task", {"qa", "other"}, "question answering (max) or another (average)")
      .add(scoring.at("block"))
      .add(groups.at("shared_layers"))
      .add(groups.at("beta"))
      .integer("suffix", 0, {0, kMaxPositions}, "last queries that vote, kept; 0: 32 for max, 16 for average")
      .add(scoring.at("top"))
      .add(sinks_parameter());
  return {.description = "keeps whole blocks that the last prompt queries attend to, the same for groups of layers",
          .source = "optim996/WindowKV@7513467",
          .parameters = parameters,
          .variants = {{"code", "optim996/WindowKV@7513467", {}}, {"paper", "arXiv:2503.17922", {}}},
          .build = windowkv_policy};
}

}  // namespace evictlab::sim
