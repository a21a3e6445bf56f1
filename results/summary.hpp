#pragma once

#include <string>
#include <vector>

#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::results {

/// A policy that holds more than this times what the others hold is not compared with them.
inline constexpr double kMaxExcess = 1.05;

/// Ranks the policies of a replay table at each requested budget by the retained mass of their layer = "all"
/// rows, mean over prompts: the table `summary`, one row per (budget, policy), budgets in the order of the table, best
/// first. Not ranked, and last: methods and controls that hold kMaxExcess times what the others do (they have a budget
/// of their own, or their arithmetic exceeds the one asked for), and those infeasible on every prompt. What the others
/// hold is the median over policies.
///
/// to_best compares with the first method in rank: controls and ceilings do not compete. to_random compares with the
/// first control called `random`. Both are empty for the reference itself, to_best for ceilings too. Throws TableError
/// when a column is missing.
Table summarize(const Table& replay, const BootstrapOptions& options = {});

/// A policy in its own form and under constraints: both texts of its parameters.
struct ConstrainedPair {
  std::string policy;
  std::string parameters;
  std::string constrained_parameters;
  std::string constraint;
};
/// Computes what constraints cost each policy: the table `constraints`, a row per budget and pair, on the prompts that
/// both forms can serve.
Table constraint_costs(const Table& replay, const std::vector<ConstrainedPair>& pairs,
                       const BootstrapOptions& options = {});

}  // namespace evictlab::results
