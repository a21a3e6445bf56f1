#include "results/calibration_file.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/version.hpp"

namespace evictlab::results {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "evictlab-calibration";
constexpr std::int64_t kMostCounted = std::numeric_limits<std::int32_t>::max();

Json json_of(const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); }
Json json_of(const Covered& covered) { return Json::array({covered.least, covered.most}); }

// Beyond anything that is learned, and near enough that no prediction overflows.
constexpr double kMost = 1e30;
constexpr double kMostLogScale = 300.0;

double between(const core::JsonNode& node, double least, double most) {
  const double value = node.number();
  if (!(value >= least && value <= most)) node.fail("must be a number in {} to {}, got {}", least, most, node.text());
  return value;
}

double at_least(const core::JsonNode& node, double least) { return between(node, least, kMost); }

std::optional<double> find_at_least(const core::JsonNode& node, const char* key, double least) {
  const auto found = node.find(key);
  return found ? std::optional(at_least(*found, least)) : std::nullopt;
}

std::size_t count_of(const core::JsonNode& node) { return static_cast<std::size_t>(node.integer(1, kMostCounted)); }

Covered covered_of(const core::JsonNode& node) {
  if (!node.is_array() || node.size() != 2) node.fail_kind("two numbers, least and most");
  const std::vector<core::JsonNode> ends = node.items();
  const Covered covered{at_least(ends[0], 0.0), at_least(ends[1], 0.0)};
  if (covered.most < covered.least) node.fail("ends before it begins");
  return covered;
}

KlMap map_of(const core::JsonNode& node) {
  KlMap map{.log_scale = between(node.at("log_scale"), -kMostLogScale, kMostLogScale)};
  if (const auto saturation = node.find("saturation")) {
    map.saturation = between(*saturation, std::numeric_limits<double>::min(), kMost);
  }
  map.exponent = between(node.at("exponent"), std::numeric_limits<double>::min(), kSteepest);
  return map;
}

Measure measure_named(const core::JsonNode& node) {
  const auto measure = measure_of(node.string());
  if (!measure || !foretells(*measure)) node.fail("'{}' is no measure that foretells divergence", node.string());
  return *measure;
}

LearnedKl learned_of(const core::JsonNode& root) {
  LearnedKl learned;
  learned.measure = measure_named(root.at("measure"));
  learned.map = map_of(root.at("map"));
  const core::JsonNode confidence = root.at("confidence");
  learned.confidence = confidence.positive();
  if (learned.confidence >= 1.0) confidence.fail("must be below 1");
  learned.prompt_factor = find_at_least(root, "prompt_factor", 1.0);
  for (const core::JsonNode& entry : root.at("mean_factors").items()) {
    const core::JsonNode documents = entry.at("documents");
    const LearnedKl::MeanFactor factor{count_of(documents), at_least(entry.at("factor"), 1.0)};
    if (!learned.mean_factors.empty() && factor.documents <= learned.mean_factors.back().documents) {
      documents.fail("must rise");
    }
    learned.mean_factors.push_back(factor);
  }
  return learned;
}

/// A curve's stretches reach twice as far as the ones before.
constexpr std::int64_t kMostSteps = std::int64_t{1} << 40;

KlCurve curve_of(const core::JsonNode& node) {
  KlCurve curve{.measure = measure_named(node.at("measure")), .map = map_of(node.at("map"))};
  for (const core::JsonNode& entry : node.at("stretches").items()) {
    const core::JsonNode last = entry.at("last_step");
    curve.stretches.push_back({last.integer(1, kMostSteps), find_at_least(entry, "factor", 1.0)});
    if (curve.stretches.size() > 1 && curve.stretches.rbegin()[1].last >= curve.stretches.back().last) {
      last.fail("must rise");
    }
    if (curve.stretches.size() > 1 && curve.stretches.back().factor < curve.stretches.rbegin()[1].factor) {
      entry.fail("has a smaller factor than the stretch before");
    }
  }
  return curve;
}

CalibratedRuns runs_of(const core::JsonNode& node) {
  CalibratedRuns runs{.learned = learned_of(node)};
  if (const auto curve = node.find("curve")) runs.curve = curve_of(*curve);
  const core::JsonNode covers = node.at("covers");
  runs.prompts = count_of(covers.at("prompts"));
  runs.documents = count_of(covers.at("documents"));
  runs.prompt_length = covered_of(covers.at("prompt_length"));
  if (const auto future = covers.find("future_length")) runs.future_length = covered_of(*future);
  runs.slots = covered_of(covers.at("slots"));
  runs.share = covered_of(covers.at("share"));
  runs.tasks = covers.at("tasks").strings();
  runs.policies = covers.at("policies").strings();
  runs.budgets = covers.at("budgets").strings();
  const core::JsonNode held_out = node.at("held_out");
  runs.median_factor = find_at_least(held_out, "median_factor", 1.0);
  runs.nine_of_ten_factor = find_at_least(held_out, "nine_of_ten_factor", 1.0);
  runs.coverage = find_at_least(held_out, "coverage", 0.0);
  return runs;
}

Json json_of(const KlMap& map) {
  return {{"log_scale", map.log_scale}, {"saturation", json_of(map.saturation)}, {"exponent", map.exponent}};
}

Json json_of(const KlCurve& curve) {
  Json stretches = Json::array();
  for (const KlCurve::Stretch& stretch : curve.stretches) {
    stretches.push_back({{"last_step", stretch.last}, {"factor", json_of(stretch.factor)}});
  }
  return {{"measure", info(curve.measure).column}, {"map", json_of(curve.map)}, {"stretches", std::move(stretches)}};
}

void add_runs(Json& json, const CalibratedRuns& runs) {
  const LearnedKl& learned = runs.learned;
  Json factors = Json::array();
  for (const LearnedKl::MeanFactor& one : learned.mean_factors) {
    factors.push_back({{"documents", one.documents}, {"factor", one.factor}});
  }
  json["measure"] = info(learned.measure).column;
  json["map"] = json_of(learned.map);
  json["confidence"] = learned.confidence;
  json["prompt_factor"] = json_of(learned.prompt_factor);
  json["mean_factors"] = std::move(factors);
  if (runs.curve) json["curve"] = json_of(*runs.curve);
  json["covers"] = {{"prompts", runs.prompts},
                    {"documents", runs.documents},
                    {"prompt_length", json_of(runs.prompt_length)},
                    {"future_length", json_of(runs.future_length)},
                    {"slots", json_of(runs.slots)},
                    {"share", json_of(runs.share)},
                    {"tasks", runs.tasks},
                    {"policies", runs.policies},
                    {"budgets", runs.budgets}};
  json["held_out"] = {{"median_factor", json_of(runs.median_factor)},
                      {"nine_of_ten_factor", json_of(runs.nine_of_ten_factor)},
                      {"coverage", json_of(runs.coverage)}};
}

}  // namespace

std::string calibration_json(const KlCalibration& calibration) {
  Json json = {{"format", kFormat},
               {"format_version", kCalibrationVersion},
               {"evictlab", core::version()},
               {"model", calibration.model},
               {"model_fingerprint", calibration.model_fingerprint},
               {"window", calibration.window}};
  if (calibration.other_model_factor) json["other_model_factor"] = *calibration.other_model_factor;
  add_runs(json, calibration);
  if (calibration.decoding) {
    Json decoding = Json::object();
    add_runs(decoding, *calibration.decoding);
    json["decoding"] = std::move(decoding);
  }
  return json.dump(1) + "\n";
}

KlCalibration parse_calibration(const core::JsonDocument& document) {
  const core::JsonNode root = document.root();
  if (!root.is_object() || root.find_string("format") != kFormat) {
    root.fail("is no calibration, which evictlab validate writes as calibration.json");
  }
  const core::JsonNode version = root.at("format_version");
  if (version.integer(1, kMostCounted) > kCalibrationVersion) {
    version.fail("is {}; this program reads up to {}", version.text(), kCalibrationVersion);
  }
  KlCalibration calibration;
  calibration.model = root.at("model").string();
  calibration.model_fingerprint = root.at("model_fingerprint").string();
  // Version 1 has it among what it covers.
  calibration.other_model_factor = find_at_least(root, "other_model_factor", 1.0);
  const auto window = root.find("window");
  calibration.window = (window ? *window : root.at("covers").at("window")).integer(0, kMostCounted);
  static_cast<CalibratedRuns&>(calibration) = runs_of(root);
  if (const auto decoding = root.find("decoding")) calibration.decoding = runs_of(*decoding);
  return calibration;
}

}  // namespace evictlab::results
