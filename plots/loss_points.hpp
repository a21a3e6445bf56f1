#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "results/measures.hpp"
#include "results/run_table.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::plots {

/// What results::amount_lost() is called on an axis: "1 − retained mass", "relative loss".
std::string loss_label(results::Measure measure);

/// Reads loss curves from replay.csv: losses against slots held, all layers together.
class ReplayLosses {
 public:
  explicit ReplayLosses(const results::Table& replay);

  struct Point {
    double slots = 0;  // held per layer and kv head, mean over the prompts
    results::Interval loss;
  };
  /// By slots; only budgets at which the policy was measured on every one of the prompts.
  std::vector<Point> points(const results::PolicyKey& key, results::Measure measure,
                            const std::set<std::string>& prompts) const;

  bool measured(results::Measure measure) const { return measured_.contains(measure); }
  const std::set<std::string>& prompts() const { return prompts_; }
  const std::map<std::string, std::set<std::string>>& prompts_by_task() const { return prompts_by_task_; }

 private:
  std::vector<results::BudgetRuns> budgets_;
  std::map<std::string, std::set<std::string>> prompts_by_task_;
  std::set<std::string> prompts_;
  std::set<results::Measure> measured_;
};

}  // namespace evictlab::plots
