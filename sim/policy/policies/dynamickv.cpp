// DynamicKV (Zhou et al. 2024, arXiv:2412.14838): SnapKV's score per query head. Layers compete for one budget, which
// is divided anew after every few layers (allocators/global_counts.cpp).
//
// variant=code follows DreamMr/DynamicKV@8ab3c08 with w = 8, pooling over 7 and ratio_max (its radio_max) as its
// scripts have them per model. Its quirks are kept: layers after the last update keep bs each, a layer given more than
// it has left stores window positions twice, and with capacity to spare most layers still lose a few positions.
// variant=paper never repeats a position, never grows a layer and updates after the last layer too. Ours: axis=kv,
// where the query heads of a kv head are reduced to one.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

struct PublishedSetting {
  std::string_view model;
  const char* pooling;
  double ratio_max;
};
// The scripts of DreamMr/DynamicKV.
constexpr PublishedSetting kPublishedSettings[] = {
    {"llama-3-8b-instruct", "avg", 10.0},
    {"internlm2.5-7b-1m", "avg", 10.0},
    {"mistral-7b-instruct-v0.2", "max", 10.0},
    {"qwen2-7b-instruct", "max", 5.0},
};

PublishedSetting setting_of(const std::string& model) {
  for (const PublishedSetting& setting : kPublishedSettings) {
    if (setting.model == model) return setting;
  }
  return kPublishedSettings[0];
}

Policy dynamickv_policy(const Parameters& given) {
  const std::string& model = given.choice("model");
  const PublishedSetting setting = setting_of(model);
  const std::string& pooling = given.choice("pooling");
  const double ratio_max = given.number("ratio_max");
  const bool paper = given.choice(kVariantParameter) == "paper";
  Policy policy = assembled(
      given,
      {.scorer = {"window", {{"pooling", pooling == "model" ? setting.pooling : pooling}}},
       .allocator = {"global-counts",
                     {{"ratio_max", ratio_max > 0.0 ? ratio_max : setting.ratio_max}, {"exact", paper ? "yes" : "no"}}},
       .protection = protection_from(given)});
  if (model == "none" && (pooling == "model" || ratio_max == 0.0)) {
    policy.notes.push_back(
        "pooling and ratio_max are published per model and none is named: Llama-3-8B-Instruct's are used");
  }
  return policy;
}

}  // namespace

PolicyDefinition dynamickv() {
  std::vector<std::string> models = {"none"};
  for (const PublishedSetting& setting : kPublishedSettings) models.emplace_back(setting.model);
  const ParameterList& scoring = scorer_parameters("window");
  const ParameterList& division = allocator_parameters("global-counts");
  ParameterList parameters;
  parameters.add(scoring.at("window"))
      .add(scoring.at("kernel"))
      .choice("pooling", {"model", "max", "avg"}, "what a position gets of its neighbours; model: as published for it")
      .choice("model", models, "whose published pooling and ratio_max to use")
      .add(division.at("ratio_max"))
      .zero_means("ratio_max", "the model's")
      .add(division.at("period"))
      .add(sinks_parameter())
      .add(scoring.at("axis"))
      .add(scoring.at("reduction"))
      .set_defaults({{"window", "8"}, {"axis", "query"}});
  return {.description = "snapkv with layers competing for one budget, divided again after every few layers",
          .source = "DreamMr/DynamicKV@8ab3c08",
          .parameters = parameters,
          .variants = {{"code", "DreamMr/DynamicKV@8ab3c08", {}}, {"paper", "arXiv:2412.14838", {}}},
          .build = dynamickv_policy};
}

}  // namespace evictlab::sim
