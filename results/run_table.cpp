#include "results/run_table.hpp"

#include <algorithm>

namespace evictlab::results {
namespace {

/// The name of the full cache in tables, whose policies have no traits to ask.
constexpr std::string_view kFullCache = "full";
/// For tables written before there was a column `role`: the full cache, and whatever reads the future, is a ceiling.
Role implied_role(const PolicyKey& key) {
  if (key.policy == kFullCache || key.policy == "oracle") return Role::kCeiling;
  if (key.policy == "random" || key.policy == "protect-only") return Role::kControl;
  for (const char* part : {"scorer=future", "allocator=hindsight"}) {
    if (key.parameters.find(part) != std::string::npos) return Role::kCeiling;
  }
  return Role::kMethod;
}

bool is_whole_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

RunStatus status_of(std::string_view text) {
  for (const RunStatus status : {RunStatus::kInfeasible, RunStatus::kTooShort, RunStatus::kDegenerate}) {
    if (text == status_name(status)) return status;
  }
  return RunStatus::kOk;
}

/// Where a run table's columns are.
class RunReader {
 public:
  explicit RunReader(const Table& table)
      : table_(table),
        names_(table),
        prompt_(table.column("prompt")),
        budget_(table.column(kBudgetColumn)),
        layer_(table.find_column("layer")),
        task_(table.find_column("task")),
        document_(table.find_column("document")),
        turn_(table.find_column("turn")),
        slots_(table.find_column("slots_held")),
        bytes_(table.find_column("bytes")),
        status_(table.find_column("status")) {
    for (const MeasureInfo& own : measures()) measures_[index_of(own.id)] = table.find_column(own.column);
  }

  bool over_layers(std::size_t row) const { return !layer_ || table_.text(row, *layer_) == kAllLayers; }

  Run run(std::size_t row) const {
    Run run;
    run.row = row;
    run.key = names_.key(row);
    run.role = names_.role(row);
    run.budget = table_.row(row)[budget_];
    run.budget_text = table_.text(row, budget_);
    if (is_whole_number(run.budget_text)) run.budget_slots = table_.number(row, budget_);
    run.prompt = table_.text(row, prompt_);
    run.task = text(row, task_);
    run.document = text(row, document_);
    if (run.document.empty()) run.document = run.prompt;
    if (const auto turn = number(row, turn_)) run.turn = static_cast<std::int64_t>(*turn);
    run.slots_held = number(row, slots_);
    run.bytes = number(row, bytes_);
    for (std::size_t m = 0; m < kMeasureCount; ++m) run.measures[m] = number(row, measures_[m]);
    run.status = status_of(text(row, status_));
    return run;
  }

 private:
  std::string text(std::size_t row, std::optional<std::size_t> column) const {
    return column ? table_.text(row, *column) : std::string();
  }
  std::optional<double> number(std::size_t row, std::optional<std::size_t> column) const {
    return column ? table_.number(row, *column) : std::nullopt;
  }

  const Table& table_;
  RunColumns names_;
  std::size_t prompt_, budget_;
  std::optional<std::size_t> layer_, task_, document_, turn_, slots_, bytes_, status_;
  std::array<std::optional<std::size_t>, kMeasureCount> measures_;
};

}  // namespace

bool is_full_cache(const PolicyKey& key, Role role) { return role == Role::kCeiling && key.policy == kFullCache; }

Row& set_run(Row& row, const PolicyKey& key, Role role, Cell budget) {
  return row.set("policy", key.policy)
      .set("parameters", key.parameters)
      .set("role", role_name(role))
      .set(kBudgetColumn, std::move(budget));
}

Row& set_interval(Row& row, const std::string& name, const Interval& interval) {
  return row.set(name, interval.mean).set(name + "_low", interval.low).set(name + "_high", interval.high);
}

void require_columns(const Table& table, std::initializer_list<std::string_view> columns) {
  for (const std::string_view column : columns) table.column(column);
}

std::vector<Run> runs_over_layers(const Table& table) {
  const RunReader reader(table);
  std::vector<Run> runs;
  for (std::size_t row = 0; row < table.rows(); ++row) {
    if (reader.over_layers(row)) runs.push_back(reader.run(row));
  }
  return runs;
}

Table without_policies(const Table& table, const std::set<PolicyKey>& policies) {
  const RunColumns names(table);
  Table rest(table.columns());
  for (std::size_t row = 0; row < table.rows(); ++row) {
    if (!policies.contains(names.key(row))) rest.add_row(table.row(row));
  }
  return rest;
}

RunColumns::RunColumns(const Table& table)
    : table_(&table),
      policy_(table.column("policy")),
      parameters_(table.column("parameters")),
      role_(table.find_column("role")) {}

Role RunColumns::role(std::size_t row) const {
  if (!role_) return implied_role(key(row));
  const std::string name = table_->text(row, *role_);
  if (const auto role = role_of(name)) return *role;
  throw TableError("row {}: role is '{}', not method, control or ceiling", row + 1, name);
}

std::map<std::string, double> PolicyRuns::values(Measure measure) const {
  std::map<std::string, double> values;
  for (const Run& run : runs) {
    if (const auto value = run[measure]) values[run.prompt] = *value;
  }
  return values;
}

double PolicyRuns::mean_slots() const {
  double sum = 0.0;
  double count = 0.0;
  for (const Run& run : runs) {
    if (!run.slots_held) continue;
    sum += *run.slots_held;
    count += 1.0;
  }
  return count > 0.0 ? sum / count : 0.0;
}

const PolicyRuns* BudgetRuns::find(const PolicyKey& key) const {
  const auto found = std::ranges::find(policies, key, &PolicyRuns::key);
  return found == policies.end() ? nullptr : &*found;
}

std::vector<BudgetRuns> by_budget(const std::vector<Run>& runs) {
  std::vector<BudgetRuns> budgets;
  std::map<std::string, std::size_t> budget_at;
  std::map<std::pair<std::size_t, PolicyKey>, std::size_t> policy_at;
  for (const Run& run : runs) {
    const auto [budget, new_budget] = budget_at.emplace(run.budget_text, budgets.size());
    if (new_budget) budgets.push_back({run.budget, run.budget_text, run.budget_slots, {}});
    std::vector<PolicyRuns>& policies = budgets[budget->second].policies;
    const auto [policy, new_policy] = policy_at.emplace(std::pair(budget->second, run.key), policies.size());
    if (new_policy) policies.push_back({run.key, run.role, {}});
    policies[policy->second].runs.push_back(run);
  }
  return budgets;
}

std::vector<std::string> prompts_of(const std::vector<Run>& runs) {
  std::vector<std::string> prompts;
  std::set<std::string> seen;
  for (const Run& run : runs) {
    if (seen.insert(run.prompt).second) prompts.push_back(run.prompt);
  }
  return prompts;
}

std::set<std::string> first_half(const std::vector<Run>& runs) {
  struct Dealt {
    std::size_t first = 0;
    std::size_t second = 0;
  };
  std::set<std::string> first;
  std::set<std::string> seen;
  Dealt all;
  std::map<std::string, Dealt> by_task;
  std::map<std::string, bool> is_first;  // by document
  for (const Run& run : runs) {
    if (!seen.insert(run.prompt).second) continue;
    Dealt& own = by_task[run.task];
    const Dealt& fewer = own.first != own.second ? own : all;
    const bool to_first =
        is_first.try_emplace(run.document.empty() ? run.prompt : run.document, fewer.first <= fewer.second)
            .first->second;
    if (to_first) first.insert(run.prompt);
    for (Dealt* const dealt : {&own, &all}) ++(to_first ? dealt->first : dealt->second);
  }
  return first;
}

std::pair<std::vector<double>, std::vector<double>> paired(const std::map<std::string, double>& a,
                                                           const std::map<std::string, double>& b) {
  std::pair<std::vector<double>, std::vector<double>> pairs;
  for (const auto& [prompt, value] : a) {
    const auto other = b.find(prompt);
    if (other == b.end()) continue;
    pairs.first.push_back(value);
    pairs.second.push_back(other->second);
  }
  return pairs;
}

std::vector<double> values_of(const std::map<std::string, double>& by_prompt) {
  std::vector<double> values;
  for (const auto& [prompt, value] : by_prompt) values.push_back(value);
  return values;
}

}  // namespace evictlab::results
