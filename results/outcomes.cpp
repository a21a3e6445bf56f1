#include "results/outcomes.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/parallel.hpp"

namespace evictlab::results {
namespace {

enum class Better { kLower, kHigher, kNeither, kMeanAlone };
struct Quantity {
  const char* column;
  Better better;
};
constexpr std::array kQuantities = {
    Quantity{"kl", Better::kLower},
    Quantity{"nll", Better::kLower},
    Quantity{"top1_agreement", Better::kHigher},
    Quantity{"accuracy", Better::kHigher},
    Quantity{"accuracy_after_first", Better::kHigher},
    Quantity{"output_length", Better::kNeither},
    Quantity{"slots_held", Better::kMeanAlone},
    Quantity{"bytes", Better::kMeanAlone},
    Quantity{"peak_bytes", Better::kMeanAlone},
    Quantity{"decode_ms", Better::kMeanAlone},
    Quantity{"tokens_per_second", Better::kMeanAlone},
};

/// One policy at one budget: by quantity, its value on every prompt that has one.
struct Entry {
  std::string policy;
  std::string parameters;
  std::array<std::map<std::string, double>, kQuantities.size()> values;

  bool is_end_of_scale() const { return policy == "full" || policy == "oracle"; }
};

/// The policies of one turn, task and budget.
struct Group {
  Cell turn;
  std::string task;
  Cell budget;
  std::vector<Entry> entries;
};

class Groups {
 public:
  explicit Groups(const Table& table) {
    std::set<std::string> tasks;
    for (std::size_t row = 0; row < table.rows(); ++row) tasks.insert(table.text(row, table.column("task")));
    for (std::size_t row = 0; row < table.rows(); ++row) {
      if (table.text(row, table.column("status")) == "infeasible") continue;
      add(table, row, "all");
      if (tasks.size() > 1) add(table, row, table.text(row, table.column("task")));
    }
  }
  const std::vector<Group>& all() const { return groups_; }

 private:
  void add(const Table& table, std::size_t row, const std::string& task) {
    const auto text = [&](const char* column) { return table.text(row, table.column(column)); };
    const std::string key = text("turn") + "\n" + task + "\n" + text("budget_requested");
    const auto [place, is_new] = by_key_.emplace(key, groups_.size());
    if (is_new) {
      groups_.push_back(
          {table.row(row)[table.column("turn")], task, table.row(row)[table.column("budget_requested")], {}});
    }
    std::vector<Entry>& entries = groups_[place->second].entries;
    auto entry = std::ranges::find_if(entries, [&](const Entry& other) {
      return other.policy == text("policy") && other.parameters == text("parameters");
    });
    if (entry == entries.end()) entry = entries.insert(entries.end(), {text("policy"), text("parameters"), {}});
    for (std::size_t q = 0; q < kQuantities.size(); ++q) {
      const auto value = table.number(row, table.column(kQuantities[q].column));
      if (value) entry->values[q][text("prompt")] = *value;
    }
  }

  std::vector<Group> groups_;
  std::map<std::string, std::size_t> by_key_;
};

double mean_of(const std::map<std::string, double>& values) {
  double sum = 0.0;
  for (const auto& [prompt, value] : values) sum += value;
  return sum / static_cast<double>(values.size());
}

const Entry* best_of(const Group& group, std::size_t quantity) {
  const Better better = kQuantities[quantity].better;
  if (better != Better::kLower && better != Better::kHigher) return nullptr;
  const Entry* best = nullptr;
  for (const Entry& entry : group.entries) {
    if (entry.is_end_of_scale() || entry.values[quantity].empty()) continue;
    const double own = mean_of(entry.values[quantity]);
    const double others = best == nullptr ? 0.0 : mean_of(best->values[quantity]);
    if (best == nullptr || (better == Better::kLower ? own < others : own > others)) best = &entry;
  }
  return best;
}

void add_difference(std::vector<Cell>& cells, const Entry& entry, const Entry* other, std::size_t quantity,
                    const BootstrapOptions& options) {
  std::vector<double> ours;
  std::vector<double> theirs;
  if (other != nullptr && other != &entry) {
    for (const auto& [prompt, value] : entry.values[quantity]) {
      const auto pair = other->values[quantity].find(prompt);
      if (pair == other->values[quantity].end()) continue;
      ours.push_back(value);
      theirs.push_back(pair->second);
    }
  }
  if (ours.empty()) {
    cells.insert(cells.end(), 3, Cell());
    return;
  }
  const Interval difference = bootstrap_paired_difference(ours, theirs, options);
  cells.insert(cells.end(), {difference.mean, difference.low, difference.high});
}

std::vector<Cell> row_of(const Group& group, const Entry& entry, std::size_t quantity,
                         const BootstrapOptions& options) {
  std::vector<double> values;
  for (const auto& [prompt, value] : entry.values[quantity]) values.push_back(value);
  std::vector<Cell> cells = {group.turn,
                             group.task,
                             group.budget,
                             entry.policy,
                             entry.parameters,
                             std::string(kQuantities[quantity].column),
                             static_cast<std::int64_t>(values.size())};
  if (kQuantities[quantity].better == Better::kMeanAlone) {
    cells.emplace_back(mean(values));
    cells.insert(cells.end(), 8, Cell());
    return cells;
  }
  const Interval interval = bootstrap_mean(values, options);
  cells.insert(cells.end(), {interval.mean, interval.low, interval.high});
  const auto full = std::ranges::find(group.entries, "full", &Entry::policy);
  add_difference(cells, entry, full == group.entries.end() ? nullptr : &*full, quantity, options);
  add_difference(cells, entry, entry.is_end_of_scale() ? nullptr : best_of(group, quantity), quantity, options);
  return cells;
}

}  // namespace

Table outcomes(const Table& validate, const BootstrapOptions& options) {
  const Groups groups(validate);
  struct Task {
    const Group* group;
    const Entry* entry;
    std::size_t quantity;
  };
  std::vector<Task> tasks;
  for (const Group& group : groups.all()) {
    for (const Entry& entry : group.entries) {
      for (std::size_t q = 0; q < kQuantities.size(); ++q) {
        if (!entry.values[q].empty()) tasks.push_back({&group, &entry, q});
      }
    }
  }
  std::vector<std::vector<Cell>> rows(tasks.size());
  core::parallel_for(tasks.size(), [&](std::size_t i) {
    rows[i] = row_of(*tasks[i].group, *tasks[i].entry, tasks[i].quantity, options);
  });
  Table table({"turn", "task", "budget_requested", "policy", "parameters", "quantity", "prompts", "mean", "low", "high",
               "to_full", "to_full_low", "to_full_high", "to_best", "to_best_low", "to_best_high"});
  for (std::vector<Cell>& row : rows) table.add_row(std::move(row));
  return table;
}

}  // namespace evictlab::results
