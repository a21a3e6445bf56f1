#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "results/statistics.hpp"
#include "results/table.hpp"
#include "sim/policy/policy.hpp"
#include "sim/policy/policy_text.hpp"

// Tunes a policy's parameters per model and budget, as the authors of CAKE publish theirs. Parameters are selected on
// one half of the prompts and reported on the held-out half, since the best of many on the same prompts is partly luck.

namespace evictlab::sim {

/// One parameter and the values to try.
struct TunedParameter {
  std::string name;
  std::vector<std::string> values;
};
/// grid := item {"," item}     item := name=value{"|"value} | name=first:last:log<count> | name=first:last:lin<count>
/// for example "tau1=0.4:2:log5,tau2=0.5|1|2". Values of a range have three significant digits. Throws PolicyError in
/// one line for anything else, and for more than 4096 combinations.
std::vector<TunedParameter> parse_grid(std::string_view text);

/// A policy as given, and its candidates: every combination of the grid's values that differs from it.
struct TunedPolicy {
  Policy given;
  std::vector<Policy> candidates;
};
/// Nothing where the policy has not all of the grid's parameters. Throws PolicyError for a value that is not allowed.
std::vector<TunedPolicy> tuned_policies(std::span<const PolicySpec> specs, std::span<const TunedParameter> grid);

/// Selects the best candidate of each policy at each budget by mean retained mass on every second prompt of each task,
/// and compares it with the policy as given on the held-out prompts: the table `tune`, one row per (budget, policy) in
/// the order of the table. Parameters may change how much is held: all are compared at the slots that the policy as
/// given holds (results::SlotCurves). Its parameters are the chosen ones; the gain is paired, with a bootstrap interval
/// over prompts. Candidates that are infeasible on a prompt, or whose budgets do not reach these slots, are not chosen;
/// a policy with none left has no row.
results::Table tuning(const results::Table& replay, std::span<const TunedPolicy> policies,
                      const results::BootstrapOptions& options = {});

}  // namespace evictlab::sim
