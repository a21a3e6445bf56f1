#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "results/measures.hpp"
#include "results/role.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

// Reads run tables: those with a row per prompt, policy and budget, such as replay.csv and validate.csv. Nobody else
// parses them.

namespace evictlab::results {

/// A policy with its parameters.
struct PolicyKey {
  std::string policy;
  std::string parameters;  // "window=32,kernel=7"; may be empty

  friend auto operator<=>(const PolicyKey&, const PolicyKey&) = default;
};

/// Whether this is the full cache, which others are compared with.
bool is_full_cache(const PolicyKey& key, Role role);

/// How a run went: the column `status`.
enum class RunStatus { kOk, kInfeasible, kTooShort, kDegenerate };
/// "ok", "infeasible", "too-short", "degenerate".
constexpr std::string_view status_name(RunStatus status) {
  switch (status) {
    case RunStatus::kInfeasible:
      return "infeasible";
    case RunStatus::kTooShort:
      return "too-short";
    case RunStatus::kDegenerate:
      return "degenerate";
    case RunStatus::kOk:
      break;
  }
  return "ok";
}

/// One row: a policy at a budget on a prompt, over all layers.
struct Run {
  std::size_t row = 0;  // of the table, for columns that only one table has
  PolicyKey key;
  Role role = Role::kMethod;
  Cell budget;                         // as the table has it
  std::string budget_text;             // the same as text: what names a budget
  std::optional<double> budget_slots;  // where it was asked for as a number of slots, not as a ratio or in bytes
  std::string prompt;
  std::string task;
  std::string document;              // the prompt's id where it names none
  std::int64_t turn = 1;             // of validate.csv
  std::optional<double> slots_held;  // none: the policy could not run
  std::optional<double> bytes;
  std::array<std::optional<double>, kMeasureCount> measures;  // none: not measured
  RunStatus status = RunStatus::kOk;

  std::optional<double> operator[](Measure measure) const { return measures[index_of(measure)]; }
  /// Whether the policy could run: the budget holds what it protects, and the prompt has the queries that it reads.
  bool feasible() const { return status != RunStatus::kInfeasible && status != RunStatus::kTooShort; }
};

/// The column of the budget as asked for.
inline constexpr std::string_view kBudgetColumn = "budget_requested";

/// What the column `layer` says of rows over all layers.
inline constexpr std::string_view kAllLayers = "all";

/// Sets the columns that name a run: policy, parameters, role and budget_requested.
Row& set_run(Row& row, const PolicyKey& key, Role role, Cell budget);
/// Sets "<name>", and "<name>_low" and "<name>_high" where there is an interval.
Row& set_interval(Row& row, const std::string& name, const Interval& interval);

/// Requires columns beside prompt, policy, parameters and budget_requested, which every reader needs; measures that a
/// table lacks are not measured. Throws TableError naming the first missing column.
void require_columns(const Table& table, std::initializer_list<std::string_view> columns);

/// Rows over all layers, in the order of the table: those of layer "all", or every row of a table without layers.
/// Throws TableError when prompt, policy, parameters or budget_requested is missing.
std::vector<Run> runs_over_layers(const Table& table);

/// The rows of all other policies.
Table without_policies(const Table& table, const std::set<PolicyKey>& policies);

/// A reader of the columns that name a run, for tables without prompts too.
class RunColumns {
 public:
  explicit RunColumns(const Table& table);

  PolicyKey key(std::size_t row) const { return {table_->text(row, policy_), table_->text(row, parameters_)}; }
  /// Of a table that has no such column, the role that the name and parameters imply.
  Role role(std::size_t row) const;

 private:
  const Table* table_;
  std::size_t policy_;
  std::size_t parameters_;
  std::optional<std::size_t> role_;
};

/// A policy's runs at one budget, in the order of the table.
struct PolicyRuns {
  PolicyKey key;
  Role role = Role::kMethod;
  std::vector<Run> runs;

  /// The measure's values by prompt; prompts without one are left out.
  std::map<std::string, double> values(Measure measure) const;
  /// Slots held, mean over the feasible runs; 0 where there are none.
  double mean_slots() const;
};

/// The policies at one budget, in the order of the table.
struct BudgetRuns {
  Cell budget;
  std::string budget_text;
  std::optional<double> budget_slots;
  std::vector<PolicyRuns> policies;

  const PolicyRuns* find(const PolicyKey& key) const;
};

/// Groups runs by budget and policy, both in the order in which they first appear.
std::vector<BudgetRuns> by_budget(const std::vector<Run>& runs);

/// Every prompt once, in order.
std::vector<std::string> prompts_of(const std::vector<Run>& runs);
/// Deals the prompts of every task out to two halves, in order, what is left of tasks to the half that has fewer in
/// all, and keeps prompts of one document together: those of the first half.
std::set<std::string> first_half(const std::vector<Run>& runs);

/// Values of the prompts that both have, in their order.
std::pair<std::vector<double>, std::vector<double>> paired(const std::map<std::string, double>& a,
                                                           const std::map<std::string, double>& b);

/// The values alone, ordered by prompt.
std::vector<double> values_of(const std::map<std::string, double>& by_prompt);

}  // namespace evictlab::results
