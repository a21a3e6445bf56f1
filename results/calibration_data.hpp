#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "results/evicts.hpp"
#include "results/run_table.hpp"

// Data of results/calibration: joins validate.csv and replay.csv.

namespace evictlab::results {

/// A policy at one budget, feasible on all prompts: its KL divergence, and amount_lost() by measure, on each.
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
  std::vector<std::string> documents;  // by prompt
  std::vector<std::string> tasks;      // likewise
  std::vector<RankedBudget> budgets;
};

/// Joins first turns of validate.csv and rows over all layers of replay.csv on prompt, policy and budget, of policies
/// that evict at these times.
CalibrationData join(const Table& validate, const Table& replay, Evicts evicting);

}  // namespace evictlab::results
