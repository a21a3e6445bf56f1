#include "results/summary.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "results/run_table.hpp"
#include "results/schema.hpp"

namespace evictlab::results {
namespace {

/// The control that to_random compares with.
constexpr std::string_view kReferenceControl = "random";

/// A policy at one budget over the prompts that it serves.
struct Entry {
  PolicyKey key;
  Role role = Role::kMethod;
  std::map<std::string, Run> prompts;  // by id; the feasible ones
  std::int64_t infeasible = 0;
  std::int64_t degenerate = 0;
  bool exceeds = false;  // holds more than those it would be compared with
  double score = 0.0;    // what ranks it

  bool is_ceiling() const { return role == Role::kCeiling; }
  /// By prompt. Of retained mass, what a table leaves empty counts as 0.
  std::map<std::string, double> by_prompt(Measure measure) const {
    std::map<std::string, double> values;
    for (const auto& [id, run] : prompts) {
      if (const auto value = run[measure]) {
        values[id] = *value;
      } else if (measure == Measure::kRetainedMass) {
        values[id] = 0.0;
      }
    }
    return values;
  }
  std::vector<double> values(Measure measure) const { return values_of(by_prompt(measure)); }
  double slots() const {
    std::vector<double> held;
    for (const auto& [id, run] : prompts) held.push_back(run.slots_held.value_or(0.0));
    return mean(held);
  }
};

struct EntriesOfBudget {
  Cell budget;
  std::vector<Entry> entries;

  const Entry* find(const PolicyKey& key) const {
    const auto found = std::ranges::find(entries, key, &Entry::key);
    return found == entries.end() ? nullptr : &*found;
  }
};

std::vector<EntriesOfBudget> entries_by_budget(const Table& replay) {
  require_columns(replay, {"layer", "status", "slots_held", "retained_mass"});
  std::vector<EntriesOfBudget> budgets;
  for (const BudgetRuns& budget : by_budget(runs_over_layers(replay))) {
    std::vector<Entry>& entries = budgets.emplace_back(EntriesOfBudget{budget.budget, {}}).entries;
    for (const PolicyRuns& policy : budget.policies) {
      Entry& entry = entries.emplace_back();
      entry.key = policy.key;
      entry.role = policy.role;
      for (const Run& run : policy.runs) {
        if (run.status == RunStatus::kDegenerate) ++entry.degenerate;
        if (run.feasible()) {
          entry.prompts[run.prompt] = run;
        } else {
          ++entry.infeasible;
        }
      }
    }
  }
  return budgets;
}

void mark_excess(std::vector<Entry>& entries) {
  std::vector<double> slots;
  for (const Entry& entry : entries) {
    if (!entry.prompts.empty() && !entry.is_ceiling()) slots.push_back(entry.slots());
  }
  if (slots.empty()) return;
  std::sort(slots.begin(), slots.end());
  const double median = slots[(slots.size() - 1) / 2];
  for (Entry& entry : entries) {
    entry.exceeds = !entry.prompts.empty() && !entry.is_ceiling() && entry.slots() > kMaxExcess * median;
  }
}

/// By retained mass; then those that hold too much; last those infeasible on every prompt.
double score_of(const Entry& entry) {
  if (entry.prompts.empty()) return -2.0;
  return entry.exceeds ? -1.0 : mean(entry.values(Measure::kRetainedMass));
}

void set_mean(Row& row, std::string_view column, const std::vector<double>& values) {
  if (!values.empty()) row.set(column, mean(values));
}

/// Retained mass minus the reference's, on the prompts that both serve.
void set_difference(Row& row, const std::string& name, const Entry& entry, const Entry* reference,
                    const BootstrapOptions& options) {
  if (reference == nullptr || reference == &entry) return;
  const auto [own, other] =
      paired(entry.by_prompt(Measure::kRetainedMass), reference->by_prompt(Measure::kRetainedMass));
  if (!own.empty()) set_interval(row, name, bootstrap_paired_difference(own, other, options));
}

}  // namespace

Table summarize(const Table& replay, const BootstrapOptions& options) {
  Table table = new_table("summary");
  for (EntriesOfBudget& group : entries_by_budget(replay)) {
    std::vector<Entry>& entries = group.entries;
    mark_excess(entries);
    for (Entry& entry : entries) entry.score = score_of(entry);
    std::ranges::stable_sort(entries, std::ranges::greater{}, &Entry::score);
    const auto first = [&](const auto& wanted) -> const Entry* {
      const auto found = std::find_if(entries.begin(), entries.end(), wanted);
      return found == entries.end() || found->prompts.empty() ? nullptr : &*found;
    };
    const Entry* best = first([](const Entry& entry) { return entry.role == Role::kMethod && !entry.exceeds; });
    const Entry* random =
        first([](const Entry& entry) { return entry.role == Role::kControl && entry.key.policy == kReferenceControl; });
    std::int64_t rank = 0;
    for (const Entry& entry : entries) {
      Row row(table);
      set_run(row, entry.key, entry.role, group.budget)
          .set("prompts", entry.prompts.size())
          .set("infeasible", entry.infeasible)
          .set("degenerate", entry.degenerate);
      if (!entry.prompts.empty()) {
        if (!entry.exceeds) row.set("rank", ++rank);
        row.set("slots_held", entry.slots());
        set_interval(row, "retained_mass", bootstrap_mean(entry.values(Measure::kRetainedMass), options));
        set_difference(row, "to_best", entry, entry.is_ceiling() || entry.exceeds ? nullptr : best, options);
        set_difference(row, "to_random", entry, random, options);
        for (const Measure measure : {Measure::kExactLoss, Measure::kRelativeLoss, Measure::kRegret}) {
          set_mean(row, info(measure).column, entry.values(measure));
        }
      }
      table.add_row(std::move(row));
    }
  }
  return table;
}

Table constraint_costs(const Table& replay, const std::vector<ConstrainedPair>& pairs,
                       const BootstrapOptions& options) {
  Table table = new_table("constraints");
  for (const EntriesOfBudget& group : entries_by_budget(replay)) {
    for (const ConstrainedPair& pair : pairs) {
      const Entry* free = group.find({pair.policy, pair.parameters});
      const Entry* constrained = group.find({pair.policy, pair.constrained_parameters});
      if (free == nullptr || constrained == nullptr) continue;
      Entry both_free = *free;
      Entry both_constrained = *constrained;
      std::erase_if(both_free.prompts, [&](const auto& item) { return !constrained->prompts.contains(item.first); });
      std::erase_if(both_constrained.prompts, [&](const auto& item) { return !free->prompts.contains(item.first); });
      if (both_free.prompts.empty()) continue;
      Row row(table);
      set_run(row, free->key, free->role, group.budget)
          .set("constraint", pair.constraint)
          .set("prompts", both_free.prompts.size());
      for (const auto& [prefix, entry] : {std::pair("", &both_free), std::pair("constrained_", &both_constrained)}) {
        const auto column = [&, p = prefix](const char* name) { return std::string(p) + name; };
        set_mean(row, column("retained_mass"), entry->values(Measure::kRetainedMass));
        set_mean(row, column("relative_loss"), entry->values(Measure::kRelativeLoss));
        row.set(column("slots_held"), entry->slots());
      }
      set_difference(row, "difference", both_constrained, &both_free, options);
      table.add_row(std::move(row));
    }
  }
  return table;
}

}  // namespace evictlab::results
