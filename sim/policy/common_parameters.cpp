#include "sim/policy/common_parameters.hpp"

#include "sim/policy/part.hpp"

namespace evictlab::sim {

Parameter sinks_parameter(std::int64_t sinks) {
  return {"sinks", sinks, IntegerRange{0, kMaxPositions}, "first positions kept in any case"};
}

ParameterList protection_parameters(std::int64_t sinks, std::int64_t window) {
  ParameterList parameters;
  return parameters.add(sinks_parameter(sinks))
      .integer("window", window, {0, kMaxPositions}, "last positions kept in any case");
}

Protection protection_from(const Parameters& parameters) {
  return {parameters.integer("sinks"), parameters.integer("window")};
}

Parameter voting_window_parameter(std::int64_t window, std::int64_t minimum) {
  return {"window", window, IntegerRange{minimum, kMaxPositions}, "last queries that vote; their positions are kept"};
}

Parameter axis_parameter() {
  return {"axis", std::string("kv"), Choices{{"kv", "query"}},
          "who has a kept set of its own: each kv head or each query head"};
}

Granularity granularity_from(const Parameters& parameters) {
  return parameters.choice("axis") == "query" ? Granularity::kQueryHead : Granularity::kKvHead;
}

Parameter decode_parameter() {
  return yes_no_parameter("decode", false, "go on evicting while the answer is generated (full tier)");
}

Parameter exact_parameter() {
  return yes_no_parameter("exact", false, "divide as the paper does, or as the authors' code rounds");
}

Parameter yes_no_parameter(std::string name, bool default_value, std::string help) {
  const std::vector<std::string> words = {default_value ? "yes" : "no", default_value ? "no" : "yes"};
  return {std::move(name), words.front(), Choices{words}, std::move(help)};
}

bool is_yes(const Parameters& parameters, std::string_view name) { return parameters.choice(name) == "yes"; }

ParameterList window_voting_parameters(const KeyValues& defaults) {
  ParameterList parameters = scorer_parameters("window");
  return parameters.insert_before("axis", sinks_parameter()).set_defaults(defaults);
}

KeyValues kvpress_scoring() { return {{"window", "64"}, {"kernel", "5"}, {"pooling", "avg"}, {"order", "pool-first"}}; }

}  // namespace evictlab::sim
