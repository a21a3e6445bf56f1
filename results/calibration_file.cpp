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

LearnedKl learned_of(const core::JsonNode& root) {
  LearnedKl learned;
  const core::JsonNode name = root.at("measure");
  const auto measure = measure_of(name.string());
  if (!measure || !foretells(*measure)) name.fail("'{}' is no measure that foretells divergence", name.string());
  learned.measure = *measure;
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

}  // namespace

std::string calibration_json(const KlCalibration& calibration) {
  const LearnedKl& learned = calibration.learned;
  Json factors = Json::array();
  for (const LearnedKl::MeanFactor& one : learned.mean_factors) {
    factors.push_back({{"documents", one.documents}, {"factor", one.factor}});
  }
  const Json json = {{"format", kFormat},
                     {"format_version", kCalibrationVersion},
                     {"evictlab", core::version()},
                     {"model", calibration.model},
                     {"model_fingerprint", calibration.model_fingerprint},
                     {"measure", info(learned.measure).column},
                     {"map",
                      {{"log_scale", learned.map.log_scale},
                       {"saturation", json_of(learned.map.saturation)},
                       {"exponent", learned.map.exponent}}},
                     {"confidence", learned.confidence},
                     {"prompt_factor", json_of(learned.prompt_factor)},
                     {"mean_factors", factors},
                     {"covers",
                      {{"prompts", calibration.prompts},
                       {"documents", calibration.documents},
                       {"prompt_length", json_of(calibration.prompt_length)},
                       {"slots", json_of(calibration.slots)},
                       {"share", json_of(calibration.share)},
                       {"window", calibration.window},
                       {"tasks", calibration.tasks},
                       {"policies", calibration.policies},
                       {"budgets", calibration.budgets}}},
                     {"held_out",
                      {{"median_factor", json_of(calibration.median_factor)},
                       {"nine_of_ten_factor", json_of(calibration.nine_of_ten_factor)},
                       {"coverage", json_of(calibration.coverage)}}}};
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
  KlCalibration calibration{.model = root.at("model").string(),
                            .model_fingerprint = root.at("model_fingerprint").string(),
                            .learned = learned_of(root)};
  const core::JsonNode covers = root.at("covers");
  calibration.prompts = count_of(covers.at("prompts"));
  calibration.documents = count_of(covers.at("documents"));
  calibration.prompt_length = covered_of(covers.at("prompt_length"));
  calibration.slots = covered_of(covers.at("slots"));
  calibration.share = covered_of(covers.at("share"));
  calibration.window = covers.at("window").integer(0, kMostCounted);
  calibration.tasks = covers.at("tasks").strings();
  calibration.policies = covers.at("policies").strings();
  calibration.budgets = covers.at("budgets").strings();
  const core::JsonNode held_out = root.at("held_out");
  calibration.median_factor = find_at_least(held_out, "median_factor", 1.0);
  calibration.nine_of_ten_factor = find_at_least(held_out, "nine_of_ten_factor", 1.0);
  calibration.coverage = find_at_least(held_out, "coverage", 0.0);
  return calibration;
}

}  // namespace evictlab::results
