// DynamicKV (Zhou et al. 2024, arXiv:2412.14838): SnapKV's score per query head, with layers competing for one budget
// that is divided anew after every few layers (allocators/global_counts.cpp).
//
// variant=code follows DreamMr/DynamicKV@8ab3c08 with w = 8, pooling over 7 and radio_max as its scripts have them per
// model. Its quirks are kept: layers after the last update keep bs each, a layer given more than it has left stores
// window positions twice, and with capacity to spare most layers still lose a few positions. variant=paper never
// repeats a position, never grows a layer and updates after the last layer too. Ours: axis=kv, where the query heads of
// a kv head are reduced to one.

#include "sim/policy/declarations.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

struct PublishedSetting {
  std::string_view model;
  Pooling pooling;
  double radio_max;
};
// The scripts of DreamMr/DynamicKV.
constexpr PublishedSetting kPublished[] = {
    {"llama-3-8b-instruct", Pooling::kAverage, 10.0},
    {"internlm2.5-7b-1m", Pooling::kAverage, 10.0},
    {"mistral-7b-instruct-v0.2", Pooling::kMax, 10.0},
    {"qwen2-7b-instruct", Pooling::kMax, 5.0},
};

PublishedSetting setting_of(const std::string& model) {
  for (const PublishedSetting& setting : kPublished) {
    if (setting.model == model) return setting;
  }
  return kPublished[0];
}

Policy dynamickv_policy(const Parameters& given) {
  const std::string& model = given.choice("model");
  const PublishedSetting setting = setting_of(model);
  const std::string& pooling = given.choice("pooling");
  const bool paper = given.choice(kVariantParameter) == "paper";
  Policy policy;
  policy.granularity = granularity_from(given);
  policy.scorer = window_attention_scorer({.window = given.integer("window"),
                                           .kernel = given.integer("kernel"),
                                           .pooling = pooling == "model" ? setting.pooling
                                                      : pooling == "avg" ? Pooling::kAverage
                                                                         : Pooling::kMax,
                                           .reduction = reduction_from(given),
                                           .granularity = policy.granularity});
  const double radio_max = given.number("radio_max");
  policy.allocator = global_counts_allocator({.radio_max = radio_max > 0.0 ? radio_max : setting.radio_max,
                                              .period = given.integer("period"),
                                              .bounded = paper});
  policy.selector = top_selector();
  policy.protection = protection_from(given);
  if (model == "none" && (pooling == "model" || radio_max == 0.0)) {
    policy.notes.push_back(
        "pooling and radio_max are published per model and none is named: Llama-3-8B-Instruct's are used");
  }
  return policy;
}

}  // namespace

PolicyDefinition dynamickv() {
  std::vector<std::string> models = {"none"};
  for (const PublishedSetting& setting : kPublished) models.emplace_back(setting.model);
  ParameterList parameters;
  parameters.integer("window", 8, {1, kMaxPositions}, "last queries that vote; their positions are kept")
      .integer("kernel", 7, {1, 255, true}, "positions pooled over")
      .choice("pooling", {"model", "max", "avg"}, "what a position gets of its neighbours; model: as published for it")
      .choice("model", models, "whose published pooling and radio_max to use")
      .number("radio_max", 0.0, {0.0, 1e6}, "most of the mean budget that a layer first keeps; 0: the model's")
      .integer("period", 4, {1, kMaxPositions}, "layers between two divisions of the budget")
      .integer("sinks", 0, {0, kMaxPositions}, "first positions kept in any case")
      .choice("axis", {"query", "kv"}, "who has a kept set of its own: each query head or each kv head");
  declare_reduction(parameters);
  return {.description = "keeps what the last prompt queries attend to, with layers competing for one budget",
          .source = "DreamMr/DynamicKV@8ab3c08",
          .parameters = parameters,
          .variants = {{"code", "DreamMr/DynamicKV@8ab3c08", {}}, {"paper", "arXiv:2412.14838", {}}},
          .build = dynamickv_policy};
}

}  // namespace evictlab::sim
