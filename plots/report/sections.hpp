#pragma once

#include <string>
#include <vector>

#include "plots/figures.hpp"
#include "results/answer.hpp"

// Words what results/answer and results/findings compute: the sentences and small tables of the report's sections. Each
// is empty where its table is missing or holds nothing to say.

namespace evictlab::plots {

using Sentences = std::vector<std::string>;

/// A table of the page: numbers are text already, "-" where there is none.
struct SmallTable {
  std::string caption = {};
  std::vector<std::string> columns = {};
  std::vector<std::vector<std::string>> rows = {};
  std::size_t text_columns = 1;  // the first so many are words
};

/// A section of the page: sentences, a table, and the figures that figures.def lists under its id. `missing` says why,
/// when there is none of them.
struct Section {
  std::string id = {};
  std::string heading = {};
  std::string missing = {};
  Sentences sentences = {};
  SmallTable table = {};
};

/// The sections of a report, in order. `no_replay` says why nothing was replayed, where that is so.
std::vector<Section> report_sections(const ResultTables& tables, const std::string& no_replay);

/// The answer at one budget in one to four sentences, as plain text.
std::string sentence(const results::BudgetAnswer& answer);
/// Which policy is the best on each task and on the worst one, and where the best over all prompts is behind; empty
/// where there is one task alone.
std::string task_sentence(const results::BudgetAnswer& answer);

/// Every method at every budget, and how far it is behind the best.
SmallTable choices(const std::vector<results::BudgetAnswer>& answers);

/// Which layers are dispersed and which shift, and what kinds of heads there are.
Sentences pattern_findings(const ResultTables& tables);

/// Which layers each task prefers by CAKE's and by DynamicKV's measure, and how much lies in other layers between the
/// two tasks that differ most.
Sentences task_findings(const ResultTables& tables);

/// At the middle budget: how unevenly each policy divides it over the layers, and how much of it moves between tasks.
SmallTable budget_findings(const ResultTables& tables);

/// At the middle budget: the share of needle positions kept by each policy, in all, in each third of the prompt, and in
/// its worst layer.
SmallTable needle_findings(const ResultTables& tables);

/// In which layers eviction costs most, by live KL, or by squared error where no model ran.
Sentences sensitivity_findings(const ResultTables& tables);

/// How well measures, published rules and attention masses order the layers by that cost.
SmallTable sensitivity_orders(const ResultTables& tables);

/// How well each of replay's measures orders the policies as the running model does.
SmallTable calibration_findings(const ResultTables& tables);

}  // namespace evictlab::plots
