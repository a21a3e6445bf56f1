#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "results/run_table.hpp"

// Data of results/calibration: joins validate.csv and replay.csv, and computes how well two rankings of policies agree.

namespace evictlab::results {

/// A policy at one budget, feasible on all prompts: its KL divergence and measures on each. Larger is worse.
struct RankedPolicy {
  PolicyKey key;
  std::vector<double> kl;
  std::array<std::optional<std::vector<double>>, kMeasureCount> measures;  // none: not measured on some prompt
};

/// The methods at one budget, which rankings order.
struct RankedBudget {
  Cell budget;
  std::vector<RankedPolicy> policies;  // at equal held slots (SlotCurves)
  std::vector<RankedPolicy> as_held;   // with the slots that each holds
  std::size_t left_out() const { return as_held.size() - policies.size(); }
  /// Whether every policy has the measure on every prompt.
  bool has(Measure measure) const;
};

/// The prompts of both tables, and the budgets with their methods.
struct CalibrationData {
  std::vector<std::string> prompts;
  std::vector<bool> first_half;  // by prompt
  std::vector<RankedBudget> budgets;
};

/// Joins first turns of validate.csv and rows over all layers of replay.csv on prompt, policy and budget.
CalibrationData join(const Table& validate, const Table& replay);

/// Prompts drawn with replacement: indices, of which one may occur several times.
using PromptDraw = std::vector<std::size_t>;

/// Rank correlations of two orders of policies.
struct RankAgreement {
  double spearman = 0.0;
  double tau_b = 0.0;
};
/// Correlates a measure's order of the policies with the order by KL, both by means over the prompts drawn.
RankAgreement agreement(const RankedBudget& budget, Measure measure, const PromptDraw& draw);
/// Tau-b of the orders by KL over two sets of prompts.
double live_agreement(const RankedBudget& budget, const PromptDraw& first, const PromptDraw& second);

}  // namespace evictlab::results
