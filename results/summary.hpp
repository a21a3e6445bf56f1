#pragma once

#include <string>
#include <vector>

#include "results/prediction.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::results {

/// Ranks the policies of a replay table at each requested budget by the leading_measure() of their layer = "all" rows,
/// mean over prompts, at equal held slots (SlotCurves): the table `summary`, one row per (budget, policy), budgets in
/// the order of the table, best first. Not ranked, and last: those whose budgets do not reach these slots on every
/// prompt, and those infeasible on every prompt. The full cache, the end of the scale, is ranked with what it holds.
///
/// to_best compares with the first method in rank: controls and ceilings do not compete. to_random compares with the
/// first control called `random`. A policy that is not ranked is compared at the slots that it holds itself, where the
/// other's budgets reach them. `predictor`, where KL was foretold, gives its intervals. Both differences are empty for
/// the reference itself, to_best for ceilings too. Throws TableError when a column is missing.
Table summarize(const Table& replay, const KlPredictor* predictor = nullptr, const BootstrapOptions& options = {});

/// A policy in its own form and under constraints: both texts of its parameters.
struct ConstrainedPair {
  std::string policy;
  std::string parameters;
  std::string constrained_parameters;
  std::string constraint;
};
/// Computes what constraints cost each policy: the table `constraints`, a row per budget and pair, on the prompts that
/// both forms can serve. The difference is at the slots that the constrained form holds, or, where the free form's
/// budgets do not reach them, at the slots that the free form holds.
Table constraint_costs(const Table& replay, const std::vector<ConstrainedPair>& pairs,
                       const BootstrapOptions& options = {});

}  // namespace evictlab::results
