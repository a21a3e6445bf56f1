#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "results/run_table.hpp"

// Short names of runs, the same in the terminal and in figures.

namespace evictlab::results {

/// "snapkv", and where a policy is there with several parameters, with those that differ: "snapkv(window=16)".
std::map<PolicyKey, std::string> policy_labels(const std::set<PolicyKey>& policies);

/// "name(parameters)", or the name alone without parameters.
std::string with_parameters(const std::string& name, const std::string& parameters);
/// A policy with all of its parameters.
inline std::string full_label(const PolicyKey& key) { return with_parameters(key.policy, key.parameters); }

/// The policies of a table with the columns policy and parameters.
std::set<PolicyKey> policies_of(const Table& table);
/// The label of every row's policy.
std::vector<std::string> row_labels(const Table& table);

}  // namespace evictlab::results
