#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "analysis/statistics.hpp"
#include "analysis/table.hpp"

namespace evictlab::plots {

/// Which policy keeps most of the attention at one budget; controls, oracles and the full cache do not compete.
struct BudgetAnswer {
  double budget = 0;
  std::size_t prompts = 0;
  std::string best = {};
  std::string second = {};               // empty when only one policy competes
  analysis::Interval retained = {};      // of the best
  analysis::Interval lead = {};          // best - second, paired over prompts
  std::string control = {};              // the better of random and protect-only, empty when there is none
  analysis::Interval over_control = {};  // best - control, paired
  bool has_oracle = false;
  analysis::Interval below_oracle = {};  // oracle - best, paired
};

/// From replay.csv, one answer a budget, in rising order: retained mass is averaged over layers, then over prompts.
/// Only policies that were measured on every prompt at that budget take part.
std::vector<BudgetAnswer> budget_answers(const analysis::Table& replay);

/// The answer in one or two sentences, as plain text.
std::string sentence(const BudgetAnswer& answer);

}  // namespace evictlab::plots
