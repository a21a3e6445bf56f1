#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "results/statistics.hpp"
#include "results/table.hpp"

// Which policy keeps most of the attention with equally many slots.

namespace evictlab::results {

/// A method at one budget, compared with the best one at equal held slots. Controls and ceilings do not compete.
struct Contender {
  std::string label = {};
  double held = 0;         // slots at this budget, mean over prompts
  Interval retained = {};  // attention mass with the slots compared, mean over layers and prompts
  Interval behind = {};    // best - this one, paired over prompts; of the best itself 0
};

/// A method that is not compared: its budgets do not reach the slots that the others hold.
struct LeftOut {
  std::string label = {};
  double held = 0;  // slots at this budget, mean over prompts
};

/// The methods at one budget, ranked, beside the best control and the best ceiling.
struct BudgetAnswer {
  std::string budget = {};  // as asked for: "64", "0.1", "256KiB"
  std::size_t prompts = 0;
  double slots = 0;                        // held, at which they are compared (SlotCurves), mean over prompts
  std::vector<Contender> contenders = {};  // best first, at least one
  std::vector<LeftOut> left_out = {};      // by label
  std::string control = {};                // the best control; empty when there is none
  Interval over_control = {};              // best - control, paired
  std::string ceiling = {};                // the best ceiling that evicts anything; empty when there is none
  Interval below_ceiling = {};             // ceiling - best, paired
};

/// Ranks the methods of replay.csv by retained mass at equal held slots, one answer a budget: by rising slots at which
/// they are compared. Only policies that were measured on every prompt at that budget take part.
std::vector<BudgetAnswer> budget_answers(const Table& replay);

}  // namespace evictlab::results
