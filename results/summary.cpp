#include "results/summary.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace evictlab::results {
namespace {

struct PromptValues {
  double retained_mass = 0.0;
  double slots_held = 0.0;
  std::optional<double> regret;
  std::optional<double> exact_loss;
  std::optional<double> relative_loss;
};

// A policy at one budget over the prompts.
struct Entry {
  Cell budget;
  std::string policy;
  std::string parameters;
  std::map<std::string, PromptValues> prompts;  // by id; the feasible ones
  std::int64_t infeasible = 0;
  std::int64_t degenerate = 0;
  bool exceeds = false;  // holds more than those it would be compared with

  bool is_control() const { return policy == "full" || policy == "oracle"; }

  template <typename Value>
  std::vector<double> values(const Value& value) const {
    std::vector<double> all;
    for (const auto& [id, prompt] : prompts) {
      if (const std::optional<double> number = value(prompt)) all.push_back(*number);
    }
    return all;
  }
  std::vector<double> retained_masses() const {
    return values([](const PromptValues& prompt) -> std::optional<double> { return prompt.retained_mass; });
  }
  double score() const {
    if (prompts.empty()) return -2.0;
    return exceeds && !is_control() ? -1.0 : mean(retained_masses());
  }
  double slots() const {
    return mean(values([](const PromptValues& prompt) { return std::optional(prompt.slots_held); }));
  }
};

std::vector<std::vector<Entry>> entries_by_budget(const Table& replay) {
  const auto column = [&](std::string_view name) { return replay.column(name); };
  std::vector<std::vector<Entry>> budgets;
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    if (replay.text(row, column("layer")) != "all") continue;
    const Cell& budget = replay.row(row)[column("budget_requested")];
    auto group = std::find_if(budgets.begin(), budgets.end(),
                              [&](const std::vector<Entry>& entries) { return entries.front().budget == budget; });
    if (group == budgets.end()) group = budgets.insert(budgets.end(), std::vector<Entry>());
    const std::string policy = replay.text(row, column("policy"));
    const std::string parameters = replay.text(row, column("parameters"));
    auto entry = std::find_if(group->begin(), group->end(), [&](const Entry& other) {
      return other.policy == policy && other.parameters == parameters;
    });
    if (entry == group->end()) {
      entry = group->insert(group->end(), {budget, policy, parameters, {}});
    }
    const std::string status = replay.text(row, column("status"));
    if (status == "infeasible") {
      ++entry->infeasible;
      continue;
    }
    if (status == "degenerate") ++entry->degenerate;
    const auto number = [&](std::string_view name) { return replay.number(row, column(name)); };
    entry->prompts[replay.text(row, column("prompt"))] = {number("retained_mass").value_or(0.0),
                                                          number("slots_held").value_or(0.0), number("regret"),
                                                          number("exact_loss"), number("relative_loss")};
  }
  return budgets;
}

void mark_excess(std::vector<Entry>& entries) {
  std::vector<double> slots;
  for (const Entry& entry : entries) {
    if (!entry.prompts.empty() && !entry.is_control()) slots.push_back(entry.slots());
  }
  if (slots.empty()) return;
  std::sort(slots.begin(), slots.end());
  const double median = slots[(slots.size() - 1) / 2];
  for (Entry& entry : entries) {
    entry.exceeds = !entry.prompts.empty() && !entry.is_control() && entry.slots() > kMostExcess * median;
  }
}

void add_interval(std::vector<Cell>& cells, const Interval& interval) {
  for (const double value : {interval.mean, interval.low, interval.high}) cells.emplace_back(value);
}

void add_difference(std::vector<Cell>& cells, const Entry& entry, const Entry* reference,
                    const BootstrapOptions& options) {
  std::vector<double> own;
  std::vector<double> other;
  if (reference != nullptr && reference != &entry) {
    for (const auto& [id, prompt] : entry.prompts) {
      const auto pair = reference->prompts.find(id);
      if (pair == reference->prompts.end()) continue;
      own.push_back(prompt.retained_mass);
      other.push_back(pair->second.retained_mass);
    }
  }
  if (own.empty()) {
    cells.insert(cells.end(), 3, Cell());
  } else {
    add_interval(cells, bootstrap_paired_difference(own, other, options));
  }
}

Cell mean_or_empty(const std::vector<double>& values) { return values.empty() ? Cell() : Cell(mean(values)); }

}  // namespace

Table summarize(const Table& replay, const BootstrapOptions& options) {
  Table table({"budget_requested",   "rank",           "policy",      "parameters",    "prompts",
               "infeasible",         "degenerate",     "slots_held",  "retained_mass", "retained_mass_low",
               "retained_mass_high", "to_best",        "to_best_low", "to_best_high",  "to_random",
               "to_random_low",      "to_random_high", "exact_loss",  "relative_loss", "regret"});
  for (std::vector<Entry>& entries : entries_by_budget(replay)) {
    mark_excess(entries);
    std::stable_sort(entries.begin(), entries.end(),
                     [](const Entry& a, const Entry& b) { return a.score() > b.score(); });
    const auto find = [&](const auto& wanted) -> const Entry* {
      const auto found = std::find_if(entries.begin(), entries.end(), wanted);
      return found == entries.end() || found->prompts.empty() ? nullptr : &*found;
    };
    const Entry* best = find([](const Entry& entry) { return !entry.is_control() && !entry.exceeds; });
    const Entry* random = find([](const Entry& entry) { return entry.policy == "random"; });
    std::int64_t rank = 0;
    for (const Entry& entry : entries) {
      std::vector<Cell> cells = {entry.budget,
                                 Cell(),
                                 entry.policy,
                                 entry.parameters,
                                 static_cast<std::int64_t>(entry.prompts.size()),
                                 entry.infeasible,
                                 entry.degenerate};
      if (entry.prompts.empty()) {
        cells.resize(table.columns().size());
        table.add_row(std::move(cells));
        continue;
      }
      if (!entry.exceeds) cells[1] = ++rank;
      cells.push_back(mean_or_empty(entry.values([](const PromptValues& p) { return std::optional(p.slots_held); })));
      add_interval(cells, bootstrap_mean(entry.retained_masses(), options));
      add_difference(cells, entry, entry.is_control() || entry.exceeds ? nullptr : best, options);
      add_difference(cells, entry, random, options);
      cells.push_back(mean_or_empty(entry.values([](const PromptValues& p) { return p.exact_loss; })));
      cells.push_back(mean_or_empty(entry.values([](const PromptValues& p) { return p.relative_loss; })));
      cells.push_back(mean_or_empty(entry.values([](const PromptValues& p) { return p.regret; })));
      table.add_row(std::move(cells));
    }
  }
  return table;
}

Table constraint_costs(const Table& replay, const std::vector<ConstrainedPair>& pairs,
                       const BootstrapOptions& options) {
  Table table({"budget_requested", "policy", "parameters", "constraint", "prompts", "retained_mass",
               "constrained_retained_mass", "difference", "difference_low", "difference_high", "relative_loss",
               "constrained_relative_loss", "slots_held", "constrained_slots_held"});
  for (const std::vector<Entry>& entries : entries_by_budget(replay)) {
    const auto find = [&](const std::string& policy, const std::string& parameters) -> const Entry* {
      const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
        return entry.policy == policy && entry.parameters == parameters;
      });
      return found == entries.end() ? nullptr : &*found;
    };
    for (const ConstrainedPair& pair : pairs) {
      const Entry* free = find(pair.policy, pair.parameters);
      const Entry* constrained = find(pair.policy, pair.constrained_parameters);
      if (free == nullptr || constrained == nullptr) continue;
      Entry both_free = *free;
      Entry both_constrained = *constrained;
      std::erase_if(both_free.prompts, [&](const auto& item) { return !constrained->prompts.contains(item.first); });
      std::erase_if(both_constrained.prompts, [&](const auto& item) { return !free->prompts.contains(item.first); });
      if (both_free.prompts.empty()) continue;
      const auto mean_of = [](const Entry& entry, const auto& value) { return mean_or_empty(entry.values(value)); };
      const auto mass = [](const PromptValues& prompt) { return std::optional(prompt.retained_mass); };
      const auto loss = [](const PromptValues& prompt) { return prompt.relative_loss; };
      const auto slots = [](const PromptValues& prompt) { return std::optional(prompt.slots_held); };
      std::vector<Cell> cells = {free->budget,
                                 pair.policy,
                                 pair.parameters,
                                 pair.constraint,
                                 static_cast<std::int64_t>(both_free.prompts.size()),
                                 mean_of(both_free, mass),
                                 mean_of(both_constrained, mass)};
      add_difference(cells, both_constrained, &both_free, options);
      for (const Entry* entry : {&both_free, &both_constrained}) cells.push_back(mean_of(*entry, loss));
      for (const Entry* entry : {&both_free, &both_constrained}) cells.push_back(mean_of(*entry, slots));
      table.add_row(std::move(cells));
    }
  }
  return table;
}

}  // namespace evictlab::results
