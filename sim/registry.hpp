#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/parameters.hpp"
#include "sim/policy.hpp"
#include "sim/policy_spec.hpp"

namespace evictlab::sim {

/// What a file in policies/ says of its policy.
struct PolicyDefinition {
  std::string description;  // one line
  std::string source;       // whose code or paper the default variant follows
  ParameterList parameters;
  /// The parts; name and parameter texts are the registry's to fill.
  std::function<Policy(const Parameters&)> build;
};

/// A policy as it is listed.
struct PolicyInfo {
  std::string name;
  std::string paper;  // "arXiv:2404.14469"; empty where there is none
  PolicyDefinition definition;
};

/// All there are, in the order of policies.def.
std::span<const PolicyInfo> policies();

/// Throws PolicyError for an unknown name, with the nearest one there is.
const PolicyInfo& find_policy(std::string_view name);

/// Throws PolicyError: unknown name or parameter, a value not allowed, parts that do not fit.
Policy make_policy(const PolicySpec& spec);
Policy make_policy(std::string_view text);
/// Also refuses two that are the same, whose rows no table could tell apart.
std::vector<Policy> make_policies(std::string_view list);

// What several policies declare alike.
inline constexpr std::int64_t kMostPositions = std::int64_t{1} << 31;
/// Parameters "sinks" and "window": what is protected.
void declare_protection(ParameterList& parameters, std::int64_t sinks, std::int64_t window);
Protection protection_from(const Parameters& parameters);
/// Parameter "axis": kv (default) or query.
void declare_axis(ParameterList& parameters);
Granularity granularity_from(const Parameters& parameters);

}  // namespace evictlab::sim
