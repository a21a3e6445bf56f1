#include "results/outcomes.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "core/parallel.hpp"
#include "results/run_table.hpp"
#include "results/schema.hpp"
#include "results/task_values.hpp"

namespace evictlab::results {
namespace {

enum class Direction { kLower, kHigher, kNeither, kMeanAlone };
struct Quantity {
  const char* column;
  Direction better;
};
constexpr std::array kQuantities = {
    Quantity{"kl", Direction::kLower},
    Quantity{"nll", Direction::kLower},
    Quantity{"top1_agreement", Direction::kHigher},
    Quantity{"accuracy", Direction::kHigher},
    Quantity{"accuracy_after_first", Direction::kHigher},
    Quantity{"output_length", Direction::kNeither},
    Quantity{"slots_held", Direction::kMeanAlone},
    Quantity{"bytes", Direction::kMeanAlone},
    Quantity{"peak_bytes", Direction::kMeanAlone},
    Quantity{"decode_ms", Direction::kMeanAlone},
    Quantity{"tokens_per_second", Direction::kMeanAlone},
};

/// One policy at one budget: by quantity, its value on every prompt that has one.
struct OutcomeEntry {
  PolicyKey key;
  Role role = Role::kMethod;
  std::array<std::map<std::string, double>, kQuantities.size()> values;
};

/// The policies of one turn, task and budget.
struct OutcomeGroup {
  std::int64_t turn = 1;
  std::string task;
  Cell budget;
  std::vector<OutcomeEntry> entries;
};

class OutcomeGroups {
 public:
  explicit OutcomeGroups(const Table& table) {
    require_columns(table, {"task", "turn", "status"});
    for (std::size_t q = 0; q < kQuantities.size(); ++q) columns_[q] = table.column(kQuantities[q].column);
    const std::vector<Run> runs = runs_over_layers(table);
    std::set<std::string> tasks;
    for (const Run& run : runs) tasks.insert(run.task);
    for (const Run& run : runs) {
      if (!run.feasible()) continue;
      add(table, run, kAllTasks);
      if (tasks.size() > 1) add(table, run, run.task);
    }
  }
  const std::vector<OutcomeGroup>& all() const { return groups_; }

 private:
  void add(const Table& table, const Run& run, const std::string& task) {
    const auto [place, is_new] = by_key_.emplace(std::tuple(run.turn, task, run.budget_text), groups_.size());
    if (is_new) groups_.push_back({run.turn, task, run.budget, {}});
    std::vector<OutcomeEntry>& entries = groups_[place->second].entries;
    auto entry = std::ranges::find(entries, run.key, &OutcomeEntry::key);
    if (entry == entries.end()) entry = entries.insert(entries.end(), {run.key, run.role, {}});
    for (std::size_t q = 0; q < kQuantities.size(); ++q) {
      if (const auto value = table.number(run.row, columns_[q])) entry->values[q][run.prompt] = *value;
    }
  }

  std::array<std::size_t, kQuantities.size()> columns_{};
  std::vector<OutcomeGroup> groups_;
  std::map<std::tuple<std::int64_t, std::string, std::string>, std::size_t> by_key_;
};

double mean_of(const std::map<std::string, double>& values) {
  double sum = 0.0;
  for (const auto& [prompt, value] : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// The best method; none where a quantity has no better end.
const OutcomeEntry* best_of(const OutcomeGroup& group, std::size_t quantity) {
  const Direction better = kQuantities[quantity].better;
  if (better != Direction::kLower && better != Direction::kHigher) return nullptr;
  const OutcomeEntry* best = nullptr;
  for (const OutcomeEntry& entry : group.entries) {
    if (entry.role != Role::kMethod || entry.values[quantity].empty()) continue;
    const double own = mean_of(entry.values[quantity]);
    const double others = best == nullptr ? 0.0 : mean_of(best->values[quantity]);
    if (best == nullptr || (better == Direction::kLower ? own < others : own > others)) best = &entry;
  }
  return best;
}

/// Sets "<name>" and its interval's ends: the entry's values minus the other's, paired over prompts.
void set_outcome_difference(Row& row, const std::string& name, const OutcomeEntry& entry, const OutcomeEntry* other,
                            std::size_t quantity, const BootstrapOptions& options) {
  if (other == nullptr || other == &entry) return;
  const auto [ours, theirs] = paired(entry.values[quantity], other->values[quantity]);
  if (ours.empty()) return;
  set_interval(row, name, bootstrap_paired_difference(ours, theirs, options));
}

Row row_of(const Table& table, const OutcomeGroup& group, const OutcomeEntry& entry, std::size_t quantity,
           const BootstrapOptions& options) {
  const std::vector<double> values = values_of(entry.values[quantity]);
  Row row(table);
  set_run(row, entry.key, entry.role, group.budget)
      .set("turn", group.turn)
      .set("task", group.task)
      .set("quantity", kQuantities[quantity].column)
      .set("prompts", values.size());
  if (kQuantities[quantity].better == Direction::kMeanAlone) {
    row.set("mean", mean(values));
    return row;
  }
  const Interval interval = bootstrap_mean(values, options);
  row.set("mean", interval.mean).set("low", interval.low).set("high", interval.high);
  const auto full = std::ranges::find_if(
      group.entries, [](const OutcomeEntry& other) { return is_full_cache(other.key, other.role); });
  set_outcome_difference(row, "to_full", entry, full == group.entries.end() ? nullptr : &*full, quantity, options);
  set_outcome_difference(row, "to_best", entry, entry.role == Role::kCeiling ? nullptr : best_of(group, quantity),
                         quantity, options);
  return row;
}

}  // namespace

Table outcomes(const Table& validate, const BootstrapOptions& options) {
  const OutcomeGroups groups(validate);
  struct Task {
    const OutcomeGroup* group;
    const OutcomeEntry* entry;
    std::size_t quantity;
  };
  std::vector<Task> tasks;
  for (const OutcomeGroup& group : groups.all()) {
    for (const OutcomeEntry& entry : group.entries) {
      for (std::size_t q = 0; q < kQuantities.size(); ++q) {
        if (!entry.values[q].empty()) tasks.push_back({&group, &entry, q});
      }
    }
  }
  Table table = new_table("outcomes");
  std::vector<Row> rows(tasks.size(), Row(table));
  core::parallel_for(tasks.size(), [&](std::size_t i) {
    rows[i] = row_of(table, *tasks[i].group, *tasks[i].entry, tasks[i].quantity, options);
  });
  for (Row& row : rows) table.add_row(std::move(row));
  return table;
}

}  // namespace evictlab::results
