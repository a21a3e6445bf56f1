#pragma once

#include <string>
#include <vector>

#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::results {

/// A policy that holds more than this times what the others hold is not compared with them.
inline constexpr double kMostExcess = 1.05;

/// Ranks the policies of a replay table at each requested budget by the retained mass of their layer = "all"
/// rows, mean over prompts. One row per (budget, policy), budgets in the order of the table, best first. Not ranked,
/// and last: policies that hold kMostExcess times what the others do (they have a budget of their own, or their
/// arithmetic exceeds the one asked for), and those infeasible on every prompt. Columns:
///
///   budget_requested,rank,policy,parameters,prompts,infeasible,degenerate   counts of prompts; rank from 1, empty
///                                                                where there is nothing to rank
///   slots_held,retained_mass,retained_mass_low,retained_mass_high          means; bootstrap interval over prompts
///   to_best,to_best_low,to_best_high         retained mass minus the best policy's, on the prompts both have
///   to_random,to_random_low,to_random_high   the same against the first policy called `random`
///   exact_loss,relative_loss,regret          means; the losses are empty in the summary tier
///
/// Best is the first in rank but for `full` and `oracle`, the ends of the scale, whose rows leave to_best empty; so
/// does the best itself, and random leaves to_random empty. Throws TableError when a column is missing.
/// What the others hold is the median over policies.
Table summarize(const Table& replay, const BootstrapOptions& options = {});

/// What moving from a policy's own form to a constrained one costs: a row per budget and pair of policies (their
/// parameters texts, free and constrained), on the prompts both can serve.
///   budget_requested,policy,parameters,constraint,prompts,
///   retained_mass,constrained_retained_mass,difference,difference_low,difference_high,  constrained - free, paired
///   relative_loss,constrained_relative_loss,slots_held,constrained_slots_held
struct ConstrainedPair {
  std::string policy;
  std::string parameters;
  std::string constrained_parameters;
  std::string constraint;
};
Table constraint_costs(const Table& replay, const std::vector<ConstrainedPair>& pairs,
                       const BootstrapOptions& options = {});

}  // namespace evictlab::results