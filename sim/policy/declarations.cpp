#include "sim/policy/declarations.hpp"

#include "sim/policy/cake/formulas.hpp"
#include "sim/policy/policy.hpp"

namespace evictlab::sim {

void declare_protection(ParameterList& parameters, std::int64_t sinks, std::int64_t window) {
  parameters.integer("sinks", sinks, {0, kMaxPositions}, "first positions kept in any case")
      .integer("window", window, {0, kMaxPositions}, "last positions kept in any case");
}

Protection protection_from(const Parameters& parameters) {
  return {parameters.integer("sinks"), parameters.integer("window")};
}

void declare_axis(ParameterList& parameters) {
  parameters.choice("axis", {"kv", "query"}, "who has a kept set of its own: each kv head or each query head");
}

Granularity granularity_from(const Parameters& parameters) {
  return parameters.choice("axis") == "query" ? Granularity::kQueryHead : Granularity::kKvHead;
}

void declare_reduction(ParameterList& parameters) {
  parameters.choice("reduction", {"mean", "max", "sum"}, "over the query heads of a kv head (axis=kv)");
}

Reduction reduction_from(const Parameters& parameters) {
  const std::string& name = parameters.choice("reduction");
  return name == "mean" ? Reduction::kMean : name == "max" ? Reduction::kMax : Reduction::kSum;
}

void declare_pooling(ParameterList& parameters) {
  parameters.integer("kernel", 7, {1, 255, true}, "positions pooled over")
      .choice("pooling", {"max", "avg"}, "what a position gets of its neighbours");
}

void declare_window_scoring(ParameterList& parameters, const KeyValues& defaults) {
  parameters.integer("window", 32, {1, kMaxPositions}, "last queries that vote; their positions are kept");
  declare_pooling(parameters);
  parameters.choice("order", {"reduce-first", "pool-first"}, "whether heads are reduced before or after pooling");
  declare_reduction(parameters);
  parameters.integer("sinks", 0, {0, kMaxPositions}, "first positions kept in any case");
  declare_axis(parameters);
  parameters.set_defaults(defaults);
}

WindowScoring window_scoring_from(const Parameters& parameters) {
  return {.window = parameters.integer("window"),
          .kernel = parameters.integer("kernel"),
          .pooling = parameters.choice("pooling") == "avg" ? Pooling::kAverage : Pooling::kMax,
          .pool_first = parameters.choice("order") == "pool-first",
          .reduction = reduction_from(parameters),
          .granularity = granularity_from(parameters)};
}

KeyValues kvpress_scoring() { return {{"window", "64"}, {"kernel", "5"}, {"pooling", "avg"}, {"order", "pool-first"}}; }

void declare_beta(ParameterList& parameters) {
  parameters.integer("beta", 20, {1, kMaxPositions}, "the last layer gets about 1/beta of the mean");
}

void declare_floor_alpha(ParameterList& parameters) {
  parameters.number("floor_alpha", 0.2, {0.0, 1.0},
                    "weight of the uniform budget; in kvpress the part of its capacity a head is guaranteed");
}

void declare_adaptive(ParameterList& parameters) {
  declare_floor_alpha(parameters);
  parameters.choice("normalize", {"no", "yes"}, "weigh a head's scores by how concentrated they are")
      .integer("skip", 0, {0, kMaxPositions}, "first layers in which heads do not compete");
}

AdaptiveRule adaptive_rule_from(const Parameters& parameters) {
  return {.floor_alpha = parameters.number("floor_alpha"),
          .normalize = parameters.choice("normalize") == "yes",
          .skip = parameters.integer("skip")};
}

void declare_two_stage(ParameterList& parameters) {
  parameters.number("first_stage", 0.5, {0.0, 1.0}, "part of the budget that importance alone fills")
      .number("epsilon", 1e-4, {0.0, 1.0}, "added to the importance before it is multiplied by the norm");
}

TwoStageRule two_stage_rule_from(const Parameters& parameters) {
  return {.first_stage = parameters.number("first_stage"), .epsilon = parameters.number("epsilon")};
}

void declare_lag_scoring(ParameterList& parameters) {
  parameters.integer("sinks", 4, {0, kMaxPositions}, "first positions, which score highest")
      .integer("lag", 128, {2, kMaxPositions}, "positions of a block")
      .choice("cross", {"no", "yes"}, "whether blocks compete by score; else each ranks its own positions");
}

LagScoring lag_scoring_from(const Parameters& parameters) {
  return {.sinks = parameters.integer("sinks"),
          .lag = parameters.integer("lag"),
          .cross = parameters.choice("cross") == "yes"};
}

void declare_expected_scoring(ParameterList& parameters) {
  parameters.integer("future", 512, {1, 1 << 20}, "positions after the prompt that queries are expected at")
      .integer("sinks", 4, {0, kMaxPositions}, "first positions, which score highest")
      .choice("covariance", {"yes", "no"}, "whether queries scatter about their mean")
      .choice("values", {"yes", "no"}, "weigh by the norm of the value")
      .number("epsilon", 0.0, {0.0, 1.0}, "added to the attention before it is weighed");
}

ExpectedScoring expected_scoring_from(const Parameters& parameters) {
  return {.future = parameters.integer("future"),
          .sinks = parameters.integer("sinks"),
          .covariance = parameters.choice("covariance") == "yes",
          .values = parameters.choice("values") == "yes",
          .epsilon = parameters.number("epsilon")};
}

void declare_mean_variance(ParameterList& parameters) {
  parameters.integer("kernel", 5, {1, 255, true}, "positions averaged over")
      .number("gamma", 200.0, {0.0, 1e6}, "weight of the variance over the window");
}

MeanVarianceScoring mean_variance_scoring_from(const Parameters& parameters) {
  const Index window = parameters.integer("window");
  if (window < 2) throw ImpossiblePolicy("a window of {} queries has no variance; at least 2 are needed", window);
  return {.window = window, .kernel = parameters.integer("kernel"), .gamma = parameters.number("gamma")};
}

void declare_preference(ParameterList& parameters) {
  std::vector<std::string> models = {"none"};
  for (std::string& model : cake_models()) models.push_back(std::move(model));
  parameters.number("tau1", 0.0, {0.0, 1e6}, "temperature of the dispersion; 0: the model's at this budget, or 1")
      .number("tau2", 0.0, {0.0, 1e6}, "temperature of the shift; 0: the model's at this budget, or 1")
      .choice("model", models, "whose published temperatures to use")
      .choice("cascading", {"yes", "no"}, "evict after every layer, or once after the last");
}

PreferenceRule preference_rule_from(const Parameters& parameters, bool exact) {
  return {.window = parameters.integer("window"),
          .model = parameters.choice("model"),
          .tau1 = parameters.number("tau1"),
          .tau2 = parameters.number("tau2"),
          .cascading = parameters.choice("cascading") == "yes",
          .exact = exact};
}

void declare_decode(ParameterList& parameters) {
  parameters.choice("decode", {"no", "yes"}, "go on evicting while the answer is generated (full tier)");
}

bool decodes(const Parameters& parameters) { return parameters.choice("decode") == "yes"; }

}  // namespace evictlab::sim
