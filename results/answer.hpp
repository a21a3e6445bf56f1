#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "results/leading.hpp"
#include "results/prediction.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

// Which policy costs least with equally many slots: over all prompts, by task, and on its worst task.

namespace evictlab::results {

/// A method at one budget, compared with the best one at equal held slots. Controls and ceilings do not compete.
struct Contender {
  std::string label = {};
  double held = 0;       // slots at this budget, mean over prompts
  Interval value = {};   // the measure with the slots compared, mean over prompts
  Interval behind = {};  // how much worse than the best, paired over prompts; of the best itself 0
};

/// A method that is not compared: its budgets do not reach the slots that the others hold.
struct LeftOut {
  std::string label = {};
  double held = 0;  // slots at this budget, mean over prompts
};

/// The best method on the prompts of one task.
struct TaskAnswer {
  std::string task = {};
  std::string best = {};
  Interval value = {};
  Interval leader_behind = {};  // how much worse the best over all prompts is here, paired; 0 where it is the best here
};

/// The method that costs least on its own worst task.
struct WorstTaskAnswer {
  std::string best = {};
  std::string task = {};
  double value = 0;
};

/// The methods at one budget, ranked, beside the best control and the best ceiling.
struct BudgetAnswer {
  std::string budget = {};  // as asked for: "64", "0.1", "256KiB"
  std::size_t prompts = 0;
  double slots = 0;                          // held, at which they are compared (SlotCurves), mean over prompts
  Measure measure = Measure::kRetainedMass;  // leading_measure(): what ranks them
  std::vector<Contender> contenders = {};    // best first, at least one
  std::vector<LeftOut> left_out = {};        // by label
  std::string control = {};                  // the best control; empty when there is none
  Interval over_control = {};                // how much better the best is, paired
  std::string ceiling = {};                  // the best ceiling that evicts anything; empty when there is none
  Interval below_ceiling = {};               // how much worse the best is, paired
  std::vector<TaskAnswer> tasks = {};        // by name; empty where there is one task alone
  std::optional<WorstTaskAnswer> worst_task = {};
};

/// Ranks the methods of replay.csv by the leading measure at equal held slots, one answer a budget: by rising slots at
/// which they are compared. Only policies that were measured on every prompt at that budget take part. Intervals are
/// bootstrap ones over prompts; of predicted KL those of `predictor`, or without it the means of its per-prompt ends,
/// which are wider.
std::vector<BudgetAnswer> budget_answers(const Table& replay, const KlPredictor* predictor = nullptr);

}  // namespace evictlab::results
