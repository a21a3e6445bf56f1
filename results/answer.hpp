#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "results/statistics.hpp"
#include "results/table.hpp"

// Which policy keeps most of the attention at one budget.

namespace evictlab::results {

/// A method at one budget, compared with the best one. Controls and ceilings do not compete.
struct Contender {
  std::string label = {};
  double slots = 0;        // held, mean over prompts
  Interval retained = {};  // attention mass, mean over layers and prompts
  Interval behind = {};    // best - this one, paired over prompts; of the best itself 0
};

/// The methods at one budget, ranked, beside the best control and the best ceiling.
struct BudgetAnswer {
  std::string budget = {};  // as asked for: "64", "0.1", "256KiB"
  std::size_t prompts = 0;
  std::vector<Contender> contenders = {};  // best first, at least one
  std::string control = {};                // the best control; empty when there is none
  Interval over_control = {};              // best - control, paired
  std::string ceiling = {};                // the best ceiling that evicts anything; empty when there is none
  Interval below_ceiling = {};             // ceiling - best, paired
};

/// Ranks the methods of replay.csv by retained mass, one answer a budget: by rising slots that the best method holds.
/// Only policies that were measured on every prompt at that budget take part.
std::vector<BudgetAnswer> budget_answers(const Table& replay);

}  // namespace evictlab::results
