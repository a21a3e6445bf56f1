#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "results/run_table.hpp"

// Of results/calibration: validate.csv and replay.csv joined, and how two rankings of policies agree.

namespace evictlab::results {

/// A policy at one budget, feasible on all prompts. Values by prompt, larger is worse.
struct RankedPolicy {
  PolicyKey key;
  std::vector<double> kl;
  std::array<std::optional<std::vector<double>>, kMeasureCount> measures;  // none: not measured on some prompt
};

struct RankedBudget {
  Cell budget;
  std::vector<RankedPolicy> policies;
  bool has(Measure measure) const;
};

struct CalibrationData {
  std::vector<std::string> prompts;
  std::vector<bool> first_half;  // by prompt
  std::vector<RankedBudget> budgets;
};

CalibrationData join(const Table& validate, const Table& replay);

/// Prompts by index; one may be there several times.
using PromptDraw = std::vector<std::size_t>;

struct RankAgreement {
  double spearman = 0.0;
  double tau_b = 0.0;
};
/// Of a measure's order of the policies with the order by KL, both of means over the prompts drawn.
RankAgreement agreement(const RankedBudget& budget, Measure measure, const PromptDraw& draw);
/// Tau-b of the orders by KL over two sets of prompts.
double live_agreement(const RankedBudget& budget, const PromptDraw& first, const PromptDraw& second);

}  // namespace evictlab::results
