#include "sim/policy/registry.hpp"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/text.hpp"

namespace evictlab::sim {

// policies.def is expanded twice: here into declarations, below into rows of the table.
#define EVICTLAB_POLICY(function, name, paper) PolicyDefinition function();
#include "policies.def"
#undef EVICTLAB_POLICY

namespace {

// Declares the choice of variant where there is one.
PolicyDefinition complete(PolicyDefinition definition) {
  if (definition.variants.empty()) return definition;
  std::vector<std::string> names;
  for (const Variant& variant : definition.variants) names.push_back(variant.name);
  definition.parameters.choice(std::string(kVariantParameter), names, "whose code or paper it follows");
  return definition;
}

// What parameters default to in the variant that is asked for.
KeyValues variant_defaults(const PolicyDefinition& definition, const KeyValues& given) {
  for (const auto& [key, value] : given) {
    if (key != kVariantParameter) continue;
    for (const Variant& variant : definition.variants) {
      if (variant.name == value) return variant.defaults;
    }
  }
  return {};
}

/// The policies of a list, with those that "all" stands for: each with its defaults, without those that the list has
/// anyway, and without those that are none before parts or a file are chosen.
std::vector<PolicySpec> listed_policies(std::string_view list) {
  std::vector<PolicySpec> listed;
  const std::vector<PolicySpec> specs = parse_policies(list);
  const auto has = [](const std::vector<PolicySpec>& some, const std::string& name) {
    return std::ranges::any_of(some,
                               [&](const PolicySpec& spec) { return spec.name == name && spec.parameters.empty(); });
  };
  for (const PolicySpec& spec : specs) {
    if (spec.name != "all") {
      listed.push_back(spec);
      continue;
    }
    if (!spec.parameters.empty()) throw PolicyError("policies '{}': all takes no parameters", list);
    for (const PolicyInfo& info : policies()) {
      const bool is_listed = has(specs, info.name) || has(listed, info.name);
      if (info.name != "compose" && !info.definition.from_file && !is_listed) listed.push_back({info.name, {}});
    }
  }
  return listed;
}

std::string comma_separated(const std::string& a, const std::string& b) {
  return a.empty() ? b : b.empty() ? a : a + "," + b;
}

}  // namespace

std::span<const PolicyInfo> policies() {
  static const std::vector<PolicyInfo> table = {
#define EVICTLAB_POLICY(function, name, paper) {name, paper, complete(function())},
#include "policies.def"
#undef EVICTLAB_POLICY
  };
  return table;
}

void check_variant(std::string_view name) {
  std::vector<std::string> names;
  for (const PolicyInfo& info : policies()) {
    for (const Variant& variant : info.definition.variants) {
      if (variant.name == name) return;
      if (std::find(names.begin(), names.end(), variant.name) == names.end()) names.push_back(variant.name);
    }
  }
  throw PolicyError("no policy has the variant '{}'; there are {}", name, fmt::join(names, ", "));
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
  const PolicyDefinition& definition = info.definition;
  auto [own, constraints] = take_constraints(spec);
  const Parameters parameters("policy '" + info.name + "'",
                              definition.parameters_for ? definition.parameters_for(own) : definition.parameters, own,
                              variant_defaults(definition, own));
  Policy policy = definition.build(parameters);
  policy.name = info.name;
  if (!definition.variants.empty()) policy.variant = parameters.choice(kVariantParameter);
  if (policy.parameters.empty()) policy.parameters = parameters.text();
  if (policy.changes.empty()) policy.changes = parameters.changes();
  policy.parameters = comma_separated(policy.parameters, constraints.text());
  policy.changes = comma_separated(policy.changes, constraints.text());
  policy = constrained(std::move(policy), constraints);
  policy.role = policy.needs().future ? results::Role::kCeiling : definition.role;
  check_parts(policy);
  return policy;
}

Policy make_policy(std::string_view text) { return make_policy(parse_policy(text)); }

std::vector<Policy> make_policies(std::string_view list, const MakeOptions& options) {
  std::vector<Policy> made;
  std::vector<std::string> left_out;
  for (PolicySpec& spec : listed_policies(list)) {
    const auto& variants = find_policy(spec.name).definition.variants;
    const bool has_variant = std::any_of(variants.begin(), variants.end(),
                                         [&](const Variant& variant) { return variant.name == options.variant; });
    KeyValues defaults = options.constraints;
    if (has_variant) defaults.emplace_back(kVariantParameter, options.variant);
    try {
      Policy policy = make_policy(with_defaults(std::move(spec), defaults));
      const bool repeated =
          std::any_of(made.begin(), made.end(), [&](const Policy& other) { return other.text() == policy.text(); });
      if (repeated) throw PolicyError("policies '{}': {} is listed twice", list, policy.label());
      made.push_back(std::move(policy));
    } catch (const ImpossiblePolicy& error) {
      if (!options.left_out) throw;
      left_out.emplace_back(error.what());
    }
  }
  if (made.empty()) throw ImpossiblePolicy("{}", left_out.back());
  for (const std::string& reason : left_out) options.left_out(reason);
  return made;
}

}  // namespace evictlab::sim
