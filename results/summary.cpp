#include "results/summary.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "results/equal_slots.hpp"
#include "results/leading.hpp"
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
  std::int64_t too_short = 0;
  std::int64_t degenerate = 0;
  PromptSlots compared_at;                 // the slots of its comparisons
  std::map<std::string, double> compared;  // the ranking measure with these, by prompt
  bool ranked = false;

  bool is_ceiling() const { return role == Role::kCeiling; }
  std::vector<double> values(Measure measure) const {
    std::vector<double> values;
    for (const auto& [id, run] : prompts) {
      if (const auto value = run[measure]) values.push_back(*value);
    }
    return values;
  }
  PromptSlots held() const {
    PromptSlots held;
    for (const auto& [id, run] : prompts) held[id] = run.slots_held.value_or(0.0);
    return held;
  }
  double slots() const { return mean(values_of(held())); }
};

struct EntriesOfBudget {
  Cell budget;
  std::string budget_text;
  std::vector<Entry> entries;

  const Entry* find(const PolicyKey& key) const {
    const auto found = std::ranges::find(entries, key, &Entry::key);
    return found == entries.end() ? nullptr : &*found;
  }
};

/// What a table leaves empty counts as 0.
std::optional<double> retained_mass(const Run& run) { return run[Measure::kRetainedMass].value_or(0.0); }

/// The same of any measure.
struct ValueOf {
  Measure measure;
  std::optional<double> operator()(const Run& run) const { return run[measure].value_or(0.0); }
};

std::vector<EntriesOfBudget> entries_by_budget(const std::vector<Run>& runs) {
  std::vector<EntriesOfBudget> budgets;
  for (const BudgetRuns& budget : by_budget(runs)) {
    std::vector<Entry>& entries = budgets.emplace_back(EntriesOfBudget{budget.budget, budget.budget_text, {}}).entries;
    for (const PolicyRuns& policy : budget.policies) {
      Entry& entry = entries.emplace_back();
      entry.key = policy.key;
      entry.role = policy.role;
      for (const Run& run : policy.runs) {
        if (run.feasible()) entry.prompts[run.prompt] = run;
        switch (run.status) {
          case RunStatus::kInfeasible:
            ++entry.infeasible;
            break;
          case RunStatus::kTooShort:
            ++entry.too_short;
            break;
          case RunStatus::kDegenerate:
            ++entry.degenerate;
            break;
          case RunStatus::kOk:
            break;
        }
      }
    }
  }
  return budgets;
}

std::vector<Run> summarized_runs(const Table& replay) {
  require_columns(replay, {"layer", "status", "slots_held", "retained_mass"});
  return runs_over_layers(replay);
}

/// Decides at which slots the entry is compared and whether it is ranked.
void set_comparison_slots(Entry& entry, const std::string& budget, const SlotCurves& curves, const ValueOf& value) {
  if (entry.prompts.empty()) return;
  entry.compared_at = entry.held();
  for (const auto& [id, run] : entry.prompts) entry.compared[id] = *value(run);
  auto slots = curves.compared_on(budget, entry.compared_at);
  std::optional<std::map<std::string, double>> there;
  if (slots) there = curves.values(entry.key, budget, *slots, value);
  entry.ranked = there || is_full_cache(entry.key, entry.role);
  if (there) {
    entry.compared_at = std::move(*slots);
    entry.compared = std::move(*there);
  }
}

/// By loss with the slots compared, then those that are not ranked, last those infeasible on every prompt.
std::pair<int, double> place_of(const Entry& entry, Measure measure) {
  if (entry.prompts.empty()) return {2, 0.0};
  if (!entry.ranked) return {1, 0.0};
  return {0, as_loss(measure, mean(values_of(entry.compared)))};
}

void set_mean(Row& row, std::string_view column, const std::vector<double>& values) {
  if (!values.empty()) row.set(column, mean(values));
}

/// Sets what is foretold of the entry's runs, and what the live mean lies within.
void set_predicted_mean(Row& row, const Entry& entry, const KlPredictor* predictor) {
  const std::vector<double> predicted = entry.values(Measure::kPredictedKl);
  if (predictor == nullptr || predicted.empty()) return;
  std::set<std::string> documents;
  for (const auto& [id, run] : entry.prompts) documents.insert(run.document);
  set_interval(row, "predicted_kl", predictor->mean(entry.key, predicted, documents.size()));
}

/// Sets the interval of an entry's ranking measure minus the reference's, at the slots of the entry's comparisons and
/// on the prompts that both serve.
void set_difference(Row& row, const std::string& name, const EntriesOfBudget& group, const Entry& entry,
                    const Entry* reference, const SlotCurves& curves, const ValueOf& value,
                    const BootstrapOptions& options) {
  if (reference == nullptr || reference == &entry) return;
  PromptSlots slots = entry.compared_at;
  std::erase_if(slots, [&](const auto& item) { return !reference->prompts.contains(item.first); });
  const auto others = curves.values(reference->key, group.budget_text, slots, value);
  if (!others || others->empty()) return;
  const auto [own, other] = paired(entry.compared, *others);
  set_interval(row, name, bootstrap_paired_difference(own, other, options));
}

}  // namespace

Table summarize(const Table& replay, const KlPredictor* predictor, const BootstrapOptions& options) {
  Table table = new_table("summary");
  const std::vector<Run> runs = summarized_runs(replay);
  const SlotCurves curves(runs);
  const ValueOf value{leading_measure(runs)};
  for (EntriesOfBudget& group : entries_by_budget(runs)) {
    std::vector<Entry>& entries = group.entries;
    for (Entry& entry : entries) set_comparison_slots(entry, group.budget_text, curves, value);
    std::ranges::stable_sort(entries, {}, [&](const Entry& entry) { return place_of(entry, value.measure); });
    const auto first = [&](const auto& wanted) -> const Entry* {
      const auto found = std::find_if(entries.begin(), entries.end(), wanted);
      return found == entries.end() || found->prompts.empty() ? nullptr : &*found;
    };
    const Entry* best = first([](const Entry& entry) { return entry.role == Role::kMethod && entry.ranked; });
    const Entry* random =
        first([](const Entry& entry) { return entry.role == Role::kControl && entry.key.policy == kReferenceControl; });
    std::int64_t rank = 0;
    for (const Entry& entry : entries) {
      Row row(table);
      set_run(row, entry.key, entry.role, group.budget)
          .set("prompts", entry.prompts.size())
          .set("infeasible", entry.infeasible)
          .set("too_short", entry.too_short)
          .set("degenerate", entry.degenerate);
      if (!entry.prompts.empty()) {
        row.set("slots_held", entry.slots());
        if (entry.ranked) row.set("rank", ++rank);
        row.set("slots_compared", mean(values_of(entry.compared_at)));
        row.set("ranked_by", info(value.measure).column).set("compared", mean(values_of(entry.compared)));
        set_predicted_mean(row, entry, predictor);
        std::vector<double> masses;
        for (const auto& [id, run] : entry.prompts) masses.push_back(*retained_mass(run));
        set_interval(row, "retained_mass", bootstrap_mean(masses, options));
        set_difference(row, "to_best", group, entry, entry.is_ceiling() ? nullptr : best, curves, value, options);
        set_difference(row, "to_random", group, entry, random, curves, value, options);
        for (const Measure measure :
             {Measure::kSquaredError, Measure::kExactLoss, Measure::kRelativeLoss, Measure::kRegret}) {
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
  const std::vector<Run> runs = summarized_runs(replay);
  const SlotCurves curves(runs);
  for (const EntriesOfBudget& group : entries_by_budget(runs)) {
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
      for (const PromptSlots& slots : {both_constrained.held(), both_free.held()}) {
        const auto own = curves.values(constrained->key, group.budget_text, slots, retained_mass);
        const auto others = curves.values(free->key, group.budget_text, slots, retained_mass);
        if (!own || !others) continue;
        row.set("slots_compared", mean(values_of(slots)));
        set_interval(row, "difference", bootstrap_paired_difference(values_of(*own), values_of(*others), options));
        break;
      }
      table.add_row(std::move(row));
    }
  }
  return table;
}

}  // namespace evictlab::results
