#include "results/outcomes.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "core/parallel.hpp"
#include "results/equal_slots.hpp"
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
  OutcomeEntry(PolicyKey named, Role taken) : key(std::move(named)), role(taken) {}

  PolicyKey key;
  Role role;
  std::array<std::map<std::string, double>, kQuantities.size()> values;
  PromptSlots held;      // by prompt
  bool reaches = false;  // the slots that it is to be compared at
  PromptSlots compared_at;
  std::array<std::map<std::string, double>, kQuantities.size()> compared;  // with these slots
};

/// The policies of one turn, task and budget.
struct OutcomeGroup {
  std::int64_t turn = 1;
  std::string task;
  Cell budget;
  std::string budget_text;
  std::vector<OutcomeEntry> entries;
};

/// The slots that a quantity is compared at, on the prompts that have it.
PromptSlots slots_of(const OutcomeEntry& entry, std::size_t quantity) {
  PromptSlots slots = entry.compared_at;
  std::erase_if(slots, [&](const auto& item) { return !entry.values[quantity].contains(item.first); });
  return slots;
}

class OutcomeGroups {
 public:
  explicit OutcomeGroups(const Table& table) : table_(table) {
    require_columns(table, {"task", "turn", "status"});
    for (std::size_t q = 0; q < kQuantities.size(); ++q) columns_[q] = table.column(kQuantities[q].column);
    const std::vector<Run> runs = runs_over_layers(table);
    std::set<std::string> tasks;
    std::map<std::int64_t, std::vector<Run>> turns;
    for (const Run& run : runs) {
      tasks.insert(run.task);
      turns[run.turn].push_back(run);
    }
    for (const Run& run : runs) {
      if (!run.feasible()) continue;
      add(run, kAllTasks);
      if (tasks.size() > 1) add(run, run.task);
    }
    for (const auto& [turn, own] : turns) curves_.emplace(turn, own);
    for (OutcomeGroup& group : groups_) {
      for (OutcomeEntry& entry : group.entries) compare(group, entry);
    }
  }
  const std::vector<OutcomeGroup>& all() const { return groups_; }

  /// A policy's values of a quantity with these slots; nothing where its budgets do not reach them.
  std::optional<std::map<std::string, double>> values(const OutcomeGroup& group, const OutcomeEntry& entry,
                                                      std::size_t quantity, const PromptSlots& slots) const {
    return curves_.at(group.turn).values(entry.key, group.budget_text, slots, [&](const Run& run) {
      return table_.number(run.row, columns_[quantity]);
    });
  }

 private:
  void add(const Run& run, const std::string& task) {
    const auto [place, is_new] = by_key_.emplace(std::tuple(run.turn, task, run.budget_text), groups_.size());
    if (is_new) groups_.push_back({run.turn, task, run.budget, run.budget_text, {}});
    std::vector<OutcomeEntry>& entries = groups_[place->second].entries;
    auto entry = std::ranges::find(entries, run.key, &OutcomeEntry::key);
    if (entry == entries.end()) entry = entries.insert(entries.end(), OutcomeEntry(run.key, run.role));
    if (run.slots_held) entry->held[run.prompt] = *run.slots_held;
    for (std::size_t q = 0; q < kQuantities.size(); ++q) {
      if (const auto value = table_.number(run.row, columns_[q])) entry->values[q][run.prompt] = *value;
    }
  }

  /// Values with the slots that the group is compared at, or with its own where its budgets do not reach them.
  void compare(const OutcomeGroup& group, OutcomeEntry& entry) {
    const SlotCurves& curves = curves_.at(group.turn);
    const auto slots = curves.compared_on(group.budget_text, entry.held);
    entry.reaches = slots && curves.values(entry.key, group.budget_text, *slots, [](const Run&) { return 0.0; });
    entry.compared_at = entry.reaches ? *slots : entry.held;
    for (std::size_t q = 0; q < kQuantities.size(); ++q) {
      const PromptSlots own = slots_of(entry, q);
      std::optional<std::map<std::string, double>> there;
      if (own.size() == entry.values[q].size()) there = values(group, entry, q, own);
      entry.compared[q] = std::move(there).value_or(entry.values[q]);
    }
  }

  const Table& table_;
  std::map<std::int64_t, SlotCurves> curves_;  // by turn
  std::array<std::size_t, kQuantities.size()> columns_{};
  std::vector<OutcomeGroup> groups_;
  std::map<std::tuple<std::int64_t, std::string, std::string>, std::size_t> by_key_;
};

double mean_of(const std::map<std::string, double>& values) {
  double sum = 0.0;
  for (const auto& [prompt, value] : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// The best method of those compared at the same slots; none where a quantity has no better end.
const OutcomeEntry* best_of(const OutcomeGroup& group, std::size_t quantity) {
  const Direction better = kQuantities[quantity].better;
  if (better != Direction::kLower && better != Direction::kHigher) return nullptr;
  const OutcomeEntry* best = nullptr;
  for (const OutcomeEntry& entry : group.entries) {
    if (entry.role != Role::kMethod || !entry.reaches || entry.compared[quantity].empty()) continue;
    const double own = mean_of(entry.compared[quantity]);
    const double others = best == nullptr ? 0.0 : mean_of(best->compared[quantity]);
    if (best == nullptr || (better == Direction::kLower ? own < others : own > others)) best = &entry;
  }
  return best;
}

/// Sets "<name>" and its interval's ends: ours minus theirs, paired over prompts.
void set_outcome_difference(Row& row, const std::string& name, const std::map<std::string, double>& ours,
                            const std::map<std::string, double>& theirs, const BootstrapOptions& options) {
  const auto [own, others] = paired(ours, theirs);
  if (!own.empty()) set_interval(row, name, bootstrap_paired_difference(own, others, options));
}

Row row_of(const Table& table, const OutcomeGroups& groups, const OutcomeGroup& group, const OutcomeEntry& entry,
           std::size_t quantity, const BootstrapOptions& options) {
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
  if (full != group.entries.end() && &*full != &entry) {
    set_outcome_difference(row, "to_full", entry.values[quantity], full->values[quantity], options);
  }
  const PromptSlots slots = slots_of(entry, quantity);
  if (entry.reaches && !slots.empty()) {
    row.set("slots_compared", mean(values_of(slots))).set("mean_compared", mean_of(entry.compared[quantity]));
  }
  const OutcomeEntry* const best = entry.role == Role::kCeiling ? nullptr : best_of(group, quantity);
  if (best == nullptr || best == &entry) return row;
  PromptSlots both = slots;
  std::erase_if(both, [&](const auto& item) { return !best->values[quantity].contains(item.first); });
  if (const auto theirs = groups.values(group, *best, quantity, both)) {
    if (!both.empty()) row.set("slots_compared", mean(values_of(slots)));
    set_outcome_difference(row, "to_best", entry.compared[quantity], *theirs, options);
  }
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
    rows[i] = row_of(table, groups, *tasks[i].group, *tasks[i].entry, tasks[i].quantity, options);
  });
  for (Row& row : rows) table.add_row(std::move(row));
  return table;
}

}  // namespace evictlab::results
