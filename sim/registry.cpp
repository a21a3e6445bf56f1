#include "sim/registry.hpp"

#include <algorithm>

#include "core/text.hpp"

namespace evictlab::sim {

// policies.def is expanded twice: here into declarations, below into rows of the table.
#define EVICTLAB_POLICY(function, name, paper) PolicyDefinition function();
#include "policies.def"
#undef EVICTLAB_POLICY

std::span<const PolicyInfo> policies() {
  static const std::vector<PolicyInfo> table = {
#define EVICTLAB_POLICY(function, name, paper) {name, paper, function()},
#include "policies.def"
#undef EVICTLAB_POLICY
  };
  return table;
}

const PolicyInfo& find_policy(std::string_view name) {
  const auto all = policies();
  const auto found = std::find_if(all.begin(), all.end(), [&](const PolicyInfo& info) { return info.name == name; });
  if (found != all.end()) return *found;
  std::vector<std::string> names;
  for (const PolicyInfo& info : all) names.push_back(info.name);
  throw PolicyError("unknown policy '{}'{}", name, core::suggestion(name, names));
}

Policy make_policy(const PolicySpec& spec) {
  const PolicyInfo& info = find_policy(spec.name);
  const Parameters parameters(info.name, info.definition.parameters, spec.parameters);
  Policy policy = info.definition.build(parameters);
  policy.name = info.name;
  policy.parameters = parameters.text();
  policy.changes = parameters.changes();
  check_parts(policy);
  return policy;
}

Policy make_policy(std::string_view text) { return make_policy(parse_policy(text)); }

std::vector<Policy> make_policies(std::string_view list) {
  std::vector<Policy> made;
  for (const PolicySpec& spec : parse_policies(list)) {
    made.push_back(make_policy(spec));
    const bool repeated = std::any_of(made.begin(), made.end() - 1,
                                      [&](const Policy& other) { return other.text() == made.back().text(); });
    if (repeated) throw PolicyError("policies '{}': {} is listed twice", list, made.back().label());
  }
  return made;
}

void declare_protection(ParameterList& parameters, std::int64_t sinks, std::int64_t window) {
  parameters.integer("sinks", sinks, {0, kMostPositions}, "first positions kept in any case")
      .integer("window", window, {0, kMostPositions}, "last positions kept in any case");
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

}  // namespace evictlab::sim
