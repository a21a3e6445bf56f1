#pragma once

#include <string>
#include <vector>

#include "plots/figures.hpp"

// What the tables say, in sentences and small tables: what a reader takes from a figure, computed from the same rows.
// Each is empty where its table is missing or holds nothing to say.

namespace evictlab::plots {

using Sentences = std::vector<std::string>;

/// A table of the page: numbers are text already, "-" where there is none.
struct SmallTable {
  std::string caption = {};
  std::vector<std::string> columns = {};
  std::vector<std::vector<std::string>> rows = {};
  std::size_t text_columns = 1;  // the first so many are words
};

/// From tasks.csv and attention.csv: which layers are dispersed and which shift, and what kinds of heads there are.
Sentences pattern_findings(const ResultTables& tables);

/// From tasks.csv: which layers each task prefers by CAKE's and by DynamicKV's measure, and how much lies in other
/// layers between the two tasks that differ most.
Sentences task_findings(const ResultTables& tables);

/// From budgets.csv, and the tasks of replay.csv, at the middle budget: how unevenly each policy divides it over the
/// layers, and how much of it moves between tasks (total variation, percent).
SmallTable budget_findings(const ResultTables& tables);

/// From spans.csv at the middle budget: the share of needle positions kept by each policy, in all, in each third of the
/// prompt, and in its worst layer.
SmallTable needle_findings(const ResultTables& tables);

/// From calibration.csv: how well each of replay's measures orders the policies as the running model does.
SmallTable calibration_findings(const ResultTables& tables);

}  // namespace evictlab::plots
