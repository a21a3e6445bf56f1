// policy.json: what `evictlab fit` writes and fitted(file=...) reads.

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/version.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/fitted.hpp"

namespace evictlab::sim {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "evictlab-fitted-policy";
constexpr int kVersion = 1;
constexpr std::int64_t kMostHeads = 4096;
constexpr std::size_t kMostValues = 1 << 26;  // of all curves
constexpr double kMostLoss = 1e30;            // sums of losses over all heads stay finite

double between(const core::JsonNode& node, double least, double most) {
  const double value = node.number();
  if (!(value >= least && value <= most)) node.fail("must be a number in {} to {}, got {}", least, most, node.text());
  return value;
}

std::vector<double> numbers(const core::JsonNode& node, double least, double most) {
  std::vector<double> values;
  for (const core::JsonNode& item : node.items()) values.push_back(between(item, least, most));
  return values;
}

template <typename Value>
Value one_of(const core::JsonNode& node, std::initializer_list<Value> values, std::string_view (*name)(Value)) {
  for (const Value value : values) {
    if (node.string() == name(value)) return value;
  }
  node.fail("is no value it can have: '{}'", node.string());
}

Json json_of(const FitProvenance& fit) {
  return {{"evictlab", core::version()},
          {"traces", fit.traces},
          {"documents", fit.documents},
          {"tasks", fit.tasks},
          {"unit", fit.unit},
          {"prompt_length", {fit.shortest, fit.longest}},
          {"slots", fit.slots},
          {"held_out_loss", fit.held_out_loss},
          {"held_out_loss_of_equal_budgets", fit.uniform_loss}};
}

FitProvenance provenance_of(const core::JsonNode& node) {
  FitProvenance fit{.program = node.at("evictlab").string(),
                    .traces = node.at("traces").strings(),
                    .documents = node.at("documents").strings(),
                    .tasks = node.at("tasks").strings(),
                    .unit = node.at("unit").string()};
  const core::JsonNode lengths = node.at("prompt_length");
  const std::vector<std::int64_t> ends = lengths.integers(1, kMaxPositions);
  if (ends.size() != 2 || ends[1] < ends[0]) lengths.fail("must be the shortest and the longest");
  fit.shortest = ends[0];
  fit.longest = ends[1];
  fit.slots = numbers(node.at("slots"), 0.0, kMostLoss);
  fit.held_out_loss = numbers(node.at("held_out_loss"), 0.0, kMostLoss);
  fit.uniform_loss = numbers(node.at("held_out_loss_of_equal_budgets"), 0.0, kMostLoss);
  return fit;
}

FittedHead head_of(const core::JsonNode& node, const FittedPolicy& fitted) {
  FittedHead head;
  head.scorer =
      static_cast<std::size_t>(node.at("scorer").integer(0, static_cast<std::int64_t>(fitted.scorers.size()) - 1));
  head.protection = {node.at("sinks").integer(0, kMaxPositions), node.at("recent").integer(0, kMaxPositions)};
  const core::JsonNode losses = node.at("losses");
  head.losses = numbers(losses, 0.0, kMostLoss);
  if (head.losses.size() != fitted.points.size()) {
    losses.fail("has {} values for the {} points", head.losses.size(), fitted.points.size());
  }
  return head;
}

void read_heads(const core::JsonNode& layers, FittedPolicy& fitted) {
  std::size_t values = 0;
  for (const core::JsonNode& layer : layers.items()) {
    std::vector<FittedHead>& heads = fitted.heads.emplace_back();
    for (const core::JsonNode& head : layer.items()) {
      heads.push_back(head_of(head, fitted));
      values += heads.back().losses.size();
      if (values > kMostValues || std::ssize(heads) > kMostHeads) head.fail("is one too many");
    }
    if (heads.empty() || heads.size() != fitted.heads.front().size()) {
      layer.fail("has {} heads; the first layer has {}", heads.size(), fitted.heads.front().size());
    }
  }
  if (fitted.heads.empty() || fitted.layers() > kMostHeads) layers.fail("has {} layers", fitted.heads.size());
}

}  // namespace

std::string fitted_json(const FittedPolicy& fitted) {
  Json layers = Json::array();
  for (const std::vector<FittedHead>& heads : fitted.heads) {
    Json own = Json::array();
    for (const FittedHead& head : heads) {
      own.push_back({{"scorer", head.scorer},
                     {"sinks", head.protection.sinks},
                     {"recent", head.protection.recent},
                     {"losses", head.losses}});
    }
    layers.push_back(std::move(own));
  }
  const Json json = {{"format", kFormat},
                     {"format_version", kVersion},
                     {"model", fitted.model},
                     {"model_fingerprint", fitted.model_fingerprint},
                     {"fit", json_of(fitted.provenance)},
                     {"scorers", fitted.scorers},
                     {"sliding_windows", fitted.sliding_windows},
                     {"axis", axis_name(fitted.axis)},
                     {"points", fitted.points},
                     {"one_count_per", fitted_unit_name(fitted.per)},
                     {"block", fitted.block},
                     {"uniform_weight", fitted.uniform_weight},
                     {"layers", std::move(layers)}};
  // Names of files may hold any bytes.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

FittedPolicy parse_fitted(const core::JsonDocument& document) {
  const core::JsonNode root = document.root();
  if (!root.is_object() || root.find_string("format") != kFormat) {
    root.fail("is no fitted policy, which evictlab fit writes as policy.json");
  }
  const core::JsonNode version = root.at("format_version");
  if (version.integer(1, std::numeric_limits<std::int32_t>::max()) > kVersion) {
    version.fail("is {}; this program reads up to {}", version.text(), kVersion);
  }
  FittedPolicy fitted{.model = root.at("model").string(),
                      .model_fingerprint = root.at("model_fingerprint").string(),
                      .scorers = root.at("scorers").strings()};
  if (fitted.scorers.empty()) root.at("scorers").fail("names none");
  fitted.axis = one_of(root.at("axis"), {CurveAxis::kCount, CurveAxis::kShare}, axis_name);
  const core::JsonNode points = root.at("points");
  fitted.points = numbers(points, 0.0, static_cast<double>(kMaxPositions));
  if (fitted.points.empty() || std::ranges::adjacent_find(fitted.points, std::greater_equal{}) != fitted.points.end()) {
    points.fail("must rise, one at least");
  }
  fitted.per = one_of(root.at("one_count_per"), {FittedUnit::kHead, FittedUnit::kLayer}, fitted_unit_name);
  fitted.block = root.at("block").integer(1, kMaxPositions);
  fitted.uniform_weight = between(root.at("uniform_weight"), 0.0, 1.0);
  read_heads(root.at("layers"), fitted);
  const core::JsonNode windows = root.at("sliding_windows");
  fitted.sliding_windows = windows.integers(0, kMaxPositions);
  if (std::ssize(fitted.sliding_windows) != fitted.layers()) {
    windows.fail("has {} entries for {} layers", fitted.sliding_windows.size(), fitted.layers());
  }
  fitted.provenance = provenance_of(root.at("fit"));
  return fitted;
}

}  // namespace evictlab::sim
