#pragma once

#include "analysis/statistics.hpp"
#include "analysis/table.hpp"

namespace evictlab::sim {

/// Ranks the policies of a replay table at each requested budget by the retained mass of their layer = "all"
/// rows, mean over prompts. One row per (budget, policy), budgets in the order of the table, best first;
/// policies infeasible on every prompt come last. Columns:
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
analysis::Table summarize(const analysis::Table& replay, const analysis::BootstrapOptions& options = {});

}  // namespace evictlab::sim
