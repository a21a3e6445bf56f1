#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "plots/series.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::plots {

/// What is drawn against the budget: all are losses, 0 for the full cache.
struct Measure {
  const char* column;
  bool complement;  // the loss is 1 - column
  const char* title;
  const char* label;
};
inline constexpr Measure kMassLost{"retained_mass", true, "Attention mass lost", "1 − retained mass"};
inline constexpr Measure kOutputLoss{"relative_loss", false, "Attention output lost", "relative L1 loss"};
inline constexpr Measure kRegret{"regret", false, "Regret", "attention mass the oracle retains more"};

/// replay.csv, as loss curves ask for it; all layers together.
class ReplayLosses {
 public:
  explicit ReplayLosses(const results::Table& replay);

  struct Point {
    double slots = 0;  // held per layer and kv head, mean over the prompts
    results::Interval loss;
  };
  /// By slots; only budgets at which the policy was measured on every one of the prompts.
  std::vector<Point> points(const PolicyKey& key, const Measure& measure, const std::set<std::string>& prompts) const;

  bool measured(const Measure& measure) const { return measures_.contains(measure.column); }
  const std::set<std::string>& prompts() const { return prompts_; }
  const std::map<std::string, std::set<std::string>>& prompts_by_task() const { return prompts_by_task_; }

 private:
  // One prompt under one policy and budget.
  struct Run {
    double slots = 0;
    std::map<std::string, double> losses;  // by measure column; those measured
  };

  std::map<PolicyKey, std::map<std::string, std::map<std::string, Run>>> runs_;  // by budget as requested, prompt
  std::map<std::string, std::set<std::string>> prompts_by_task_;
  std::set<std::string> prompts_;
  std::set<std::string> measures_;
};

}  // namespace evictlab::plots
