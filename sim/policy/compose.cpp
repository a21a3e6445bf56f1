#include "sim/policy/compose.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/text.hpp"
#include "sim/policy/declarations.hpp"
#include "sim/policy/imported.hpp"

namespace evictlab::sim {
namespace {

// What allocators of which the paper's arithmetic differs from the code's.
void declare_exact(ParameterList& parameters) {
  parameters.choice("exact", {"no", "yes"}, "divide as the paper does, or as the authors' code rounds");
}
bool is_exact(const Parameters& given) { return given.choice("exact") == "yes"; }

// WindowKV's groups: one parameter for the allocator that budgets by them and the selector that shares in them.
void declare_shared_layers(ParameterList& parameters, std::int64_t layers) {
  parameters.integer("shared_layers", layers, {1, kMaxPositions}, "successive layers of a group");
}

BlockRule block_rule_from(const Parameters& given) {
  BlockRule rule{.size = given.integer("block"), .by_mean = given.choice("worth") == "mean"};
  const Index shared = given.integer("shared_layers");
  if (shared > 1) rule.layers_sharing = [shared](Index layers) { return layers_in_group(layers, shared); };
  return rule;
}

void declare_nothing(ParameterList& /*parameters*/) {}

template <typename Part>
std::vector<std::string> names_of(std::span<const PartInfo<Part>> parts) {
  std::vector<std::string> names;
  for (const auto& part : parts) names.push_back(part.name);
  return names;
}

// The part that `given` names under `key`, or the first.
template <typename Part>
const PartInfo<Part>& chosen(std::span<const PartInfo<Part>> parts, std::string_view key, const KeyValues& given) {
  for (const auto& [name, value] : given) {
    if (name != key) continue;
    const auto found = std::find_if(parts.begin(), parts.end(),
                                    [&value = value](const PartInfo<Part>& part) { return part.name == value; });
    if (found != parts.end()) return *found;
    throw PolicyError("policy 'compose': unknown {} '{}'{}", key, value, core::suggestion(value, names_of(parts)));
  }
  return parts.front();
}

template <typename Part>
std::shared_ptr<const Part> made(std::span<const PartInfo<Part>> parts, std::string_view key, const Parameters& given) {
  return chosen(parts, key, {{std::string(key), given.choice(key)}}).make(given);
}

}  // namespace

std::span<const PartInfo<Scorer>> scorers() {
  static const std::vector<PartInfo<Scorer>> table = {
      {"window", "attention of the last prompt queries, pooled (SnapKV)",
       [](ParameterList& parameters) { declare_window_scoring(parameters); },
       [](const Parameters& given) { return window_attention_scorer(window_scoring_from(given)); }},
      {"mean-variance", "mean and variance of what the last prompt queries attend to (CAKE)", declare_mean_variance,
       [](const Parameters& given) { return mean_variance_scorer(mean_variance_scoring_from(given)); }},
      {"window-blocks", "what the last prompt queries attend to, by blocks, one set per layer (WindowKV)",
       [](ParameterList& parameters) {
         parameters.integer("block", 8, {1, 4096}, "positions of a block")
             .integer("top", 4, {0, 4096}, "largest values of a block and head that count; 0: all");
       },
       [](const Parameters& given) {
         return window_blocks_scorer(
             {.window = given.integer("window"), .block = given.integer("block"), .top = given.integer("top")});
       }},
      {"mass", "attention of all prompt queries (H2O)",
       [](ParameterList& parameters) {
         declare_reduction(parameters);
         declare_axis(parameters);
       },
       [](const Parameters& given) {
         return attention_mass_scorer({.reduction = reduction_from(given), .granularity = granularity_from(given)});
       }},
      {"last-query", "attention of the last prompt query, one set per layer (TOVA)", declare_nothing,
       [](const Parameters&) { return last_query_scorer(); }},
      {"key-norm", "small keys (knorm)", declare_nothing, [](const Parameters&) { return key_norm_scorer(); }},
      {"key-difference", "keys unlike the others (KeyDiff)", declare_nothing,
       [](const Parameters&) { return key_difference_scorer(); }},
      {"lag", "relative to the next block (LagKV)", declare_lag_scoring,
       [](const Parameters& given) { return lag_scorer(lag_scoring_from(given)); }},
      {"expected", "what queries like the prompt's would attend to (expected attention)", declare_expected_scoring,
       [](const Parameters& given) { return expected_attention_scorer(expected_scoring_from(given)); }},
      {"output-norm", "what a value can move the layer's output (CriticalKV's second stage)", declare_axis,
       [](const Parameters& given) { return output_norm_scorer(granularity_from(given)); }},
      {"random", "chance",
       [](ParameterList& parameters) {
         parameters.integer("seed", 1, {0, kMaxPositions}, "of the random streams");
       },
       [](const Parameters& given) { return random_scorer(static_cast<std::uint64_t>(given.integer("seed"))); }},
      {"recency", "the later, the larger (StreamingLLM)", declare_axis,
       [](const Parameters& given) { return recency_scorer(granularity_from(given)); }},
      {"none", "earlier positions first", declare_axis,
       [](const Parameters&) { return std::shared_ptr<const Scorer>(); }},
      {"given", "scores made elsewhere (--scores FILE.h5)", declare_nothing,
       [](const Parameters&) { return imported_scorer(nullptr); }},
      {"future", "the attention the future really pays (oracle)", declare_axis,
       [](const Parameters& given) { return future_scorer(granularity_from(given)); }},
  };
  return table;
}

std::span<const PartInfo<Allocator>> allocators() {
  static const std::vector<PartInfo<Allocator>> table = {
      {"uniform", "every layer and head the same", declare_nothing,
       [](const Parameters&) { return uniform_allocator(); }},
      {"pyramid", "falling over the layers (PyramidKV)", declare_beta,
       [](const Parameters& given) {
         return layered_allocator(pyramid_share(PyramidRule::kAdaKv, given.integer("beta")));
       }},
      {"adaptive", "heads of a layer compete (Ada-KV)", declare_adaptive,
       [](const Parameters& given) { return adaptive_allocator(adaptive_rule_from(given)); }},
      {"adaptive-pyramid", "falling over the layers, heads compete (Ada-Pyramid)",
       [](ParameterList& parameters) {
         declare_adaptive(parameters);
         declare_beta(parameters);
       },
       [](const Parameters& given) {
         AdaptiveRule rule = adaptive_rule_from(given);
         rule.share = pyramid_share(PyramidRule::kAdaKv, given.integer("beta"));
         return adaptive_allocator(rule);
       }},
      {"preference", "layers by how widely and restlessly they attend, cascading (CAKE)",
       [](ParameterList& parameters) {
         declare_preference(parameters);
         declare_exact(parameters);
       },
       [](const Parameters& given) { return preference_allocator(preference_rule_from(given, is_exact(given))); }},
      {"global-counts", "layers compete for one budget, renewed every few layers (DynamicKV)",
       [](ParameterList& parameters) {
         parameters.number("radio_max", 10.0, {0.01, 1e6}, "most of the mean budget that a layer first keeps")
             .integer("period", 4, {1, kMaxPositions}, "layers between two divisions of the budget");
         declare_exact(parameters);
       },
       [](const Parameters& given) {
         return global_counts_allocator(
             {.radio_max = given.number("radio_max"), .period = given.integer("period"), .bounded = is_exact(given)});
       }},
      {"layer-groups", "falling over groups of layers (WindowKV)",
       [](ParameterList& parameters) {
         declare_shared_layers(parameters, 8);
         parameters.integer("beta", 14, {1, kMaxPositions}, "how steeply budgets fall over the groups");
         declare_exact(parameters);
       },
       [](const Parameters& given) {
         return layer_groups_allocator(
             {.group = given.integer("shared_layers"), .beta = given.integer("beta"), .exact = is_exact(given)});
       }},
      {"all-layers", "heads of all layers compete for one budget, after the last layer", declare_nothing,
       [](const Parameters&) { return all_layers_allocator(); }},
      {"hindsight", "the best there is for the ranking, by what the future attends to", declare_nothing,
       [](const Parameters&) { return hindsight_allocator(); }},
      {"given", "budgets made elsewhere (--budgets FILE)", declare_nothing,
       [](const Parameters&) { return imported_allocator(nullptr); }},
      {"guaranteed", "heads compete for what no head is guaranteed (kvpress AdaKV)", declare_floor_alpha,
       [](const Parameters& given) {
         return adaptive_allocator({.kind = AdaptiveKind::kTakeTop, .floor_alpha = given.number("floor_alpha")});
       }},
  };
  return table;
}

std::span<const PartInfo<Selector>> selectors() {
  static const std::vector<PartInfo<Selector>> table = {
      {"top", "the best positions one by one", declare_nothing, [](const Parameters&) { return top_selector(); }},
      {"blocks", "the best blocks of successive positions",
       [](ParameterList& parameters) {
         parameters.integer("block", 16, {1, 4096}, "positions of a block")
             .choice("worth", {"best", "mean"}, "what a block is worth: its best score or their mean");
         declare_shared_layers(parameters, 1);
       },
       [](const Parameters& given) { return block_selector(block_rule_from(given)); }},
      {"two-stage", "half by score, the rest by score times the norm of the value's output (CriticalKV)",
       declare_two_stage, [](const Parameters& given) { return two_stage_selector(two_stage_rule_from(given)); }},
  };
  return table;
}

std::vector<std::string> compose_matrix() {
  std::vector<std::string> matrix;
  for (const auto& scorer : scorers()) {
    for (const auto& allocator : allocators()) {
      if (scorer.name == "given" || allocator.name == "given") continue;
      for (const auto& selector : selectors()) {
        matrix.push_back(
            fmt::format("compose(scorer={},allocator={},selector={})", scorer.name, allocator.name, selector.name));
      }
    }
  }
  return matrix;
}

ParameterList compose_parameters(const KeyValues& given) {
  const auto& scorer = chosen(scorers(), "scorer", given);
  const auto& allocator = chosen(allocators(), "allocator", given);
  const auto& selector = chosen(selectors(), "selector", given);
  ParameterList parameters;
  parameters.choice("scorer", names_of(scorers()), "what a position is worth")
      .choice("allocator", names_of(allocators()), "how many positions each layer and head keeps")
      .choice("selector", names_of(selectors()), "which positions these are");
  parameters.integer("sinks", 0, {0, kMaxPositions}, "first positions kept in any case")
      .integer("window", 32, {0, kMaxPositions}, "last positions kept in any case, and the queries that vote");
  for (const auto& declare : {scorer.declare, allocator.declare, selector.declare}) {
    ParameterList own;
    declare(own);
    parameters.add_missing(own);
  }
  return parameters;
}

Policy composed_policy(const Parameters& given) {
  Policy policy;
  policy.scorer = made(scorers(), "scorer", given);
  policy.allocator = made(allocators(), "allocator", given);
  policy.selector = made(selectors(), "selector", given);
  policy.protection = protection_from(given);
  policy.granularity = policy.scorer            ? policy.scorer->granularity()
                       : given.declares("axis") ? granularity_from(given)
                                                : Granularity::kKvHead;
  if (policy.selector->needs_refinement()) {
    const bool by_layer = policy.granularity == Granularity::kLayer;
    policy.refiner = output_norm_scorer(by_layer ? Granularity::kKvHead : policy.granularity);
    if (by_layer) policy.refiner = shared_scorer(policy.refiner, Granularity::kLayer);
  }
  return policy;
}

}  // namespace evictlab::sim
