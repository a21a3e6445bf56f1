#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::plots {

/// A policy that competes at one budget; controls, oracles and the full cache do not.
struct Contender {
  std::string label = {};
  double slots = 0;                 // held, mean over prompts
  results::Interval retained = {};  // attention mass, mean over layers and prompts
  results::Interval behind = {};    // best - this one, paired over prompts; of the best itself 0
};

/// Which policy keeps most of the attention at one budget.
struct BudgetAnswer {
  double budget = 0;
  std::size_t prompts = 0;
  std::vector<Contender> contenders = {};  // best first, at least one
  std::string control = {};                // the better of random and protect-only, empty when there is none
  results::Interval over_control = {};     // best - control, paired
  bool has_oracle = false;
  results::Interval below_oracle = {};  // oracle - best, paired
};

/// From replay.csv, one answer a budget that is a number of slots, in rising order. Only policies that were measured on
/// every prompt at that budget take part.
std::vector<BudgetAnswer> budget_answers(const results::Table& replay);

/// The answer in one to four sentences, as plain text.
std::string sentence(const BudgetAnswer& answer);

}  // namespace evictlab::plots
