#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/policy/constraints.hpp"
#include "sim/policy/parameters.hpp"
#include "sim/policy/policy.hpp"
#include "sim/policy/policy_text.hpp"

namespace evictlab::sim {

/// Names one of the sources that a policy can follow, where they differ.
struct Variant {
  std::string name;    // "kvpress"
  std::string source;  // "NVIDIA/kvpress@8bb29b9"
  KeyValues defaults;  // of parameters, where they differ from the first variant's
};

/// Describes a policy: what a file in policies/ says of it.
struct PolicyDefinition {
  std::string description;  // one line
  std::string source;       // whose code or paper the default variant follows
  /// A policy with a part that reads the future is a ceiling, whatever is said here.
  results::Role role = results::Role::kMethod;
  ParameterList parameters;
  /// Stands for what a file says, which it is nothing without: a list's "all" leaves it out.
  bool from_file = false;
  /// The first is the default. Where there are any, a parameter "variant" chooses one.
  std::vector<Variant> variants = {};
  /// Where the parameters depend on what is asked for: those for the given ones. Else `parameters` are all.
  std::function<ParameterList(const KeyValues& given)> parameters_for = nullptr;
  /// The parts; name and parameter texts are the registry's to fill, but for parameters that are more than what was
  /// given.
  std::function<Policy(const Parameters&)> build;
};

/// Lists a policy with its name and paper.
struct PolicyInfo {
  std::string name;
  std::string paper;  // "arXiv:2404.14469"; empty where there is none
  PolicyDefinition definition;
};

/// All there are, in the order of policies.def.
std::span<const PolicyInfo> policies();

/// Throws PolicyError, with the names there are, when no policy has a variant of this name.
void check_variant(std::string_view name);

/// Throws PolicyError for an unknown name, with the nearest one there is.
const PolicyInfo& find_policy(std::string_view name);

/// Throws PolicyError: unknown name or parameter, a value not allowed; ImpossiblePolicy: parts that do not fit,
/// constraints it cannot meet. Constraints (sim/policy/constraints.hpp) are parameters of every policy.
Policy make_policy(const PolicySpec& spec);
Policy make_policy(std::string_view text);

/// Sets how a list of policies is made.
struct MakeOptions {
  std::string variant;    // of those that have it; empty: each policy's first
  KeyValues constraints;  // for those that do not set them (sim/policy/constraints.hpp)
  /// Called for policies that are left out, with the reason, where others are made; without it they are errors.
  std::function<void(const std::string& reason)> left_out = nullptr;
};
/// "all" in the list stands for every policy with its defaults.
/// Also refuses two that are the same, whose rows no table could tell apart. ImpossiblePolicy when all are left out.
std::vector<Policy> make_policies(std::string_view list, const MakeOptions& options = {});

}  // namespace evictlab::sim
