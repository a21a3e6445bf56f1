#include "results/calibration_data.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "results/equal_slots.hpp"

namespace evictlab::results {
namespace {

/// What the runs measure by prompt; nothing when it is missing on some prompt.
template <typename ValueOfRun>
std::optional<std::vector<double>> weighted_values(const std::vector<WeightedRuns>& runs, const ValueOfRun& value) {
  std::vector<double> values;
  for (const auto& parts : runs) {
    double sum = 0.0;
    for (const auto& [run, weight] : parts) {
      const std::optional<double> own = value(*run);
      if (!own) return std::nullopt;
      sum += weight * *own;
    }
    values.push_back(sum);
  }
  return values;
}

}  // namespace

bool RankedBudget::has(Measure measure) const {
  return std::ranges::all_of(
      policies, [&](const RankedPolicy& policy) { return policy.measures[index_of(measure)].has_value(); });
}

CalibrationData join(const Table& validate, const Table& replay, Evicts evicting) {
  using Key = std::pair<PolicyKey, std::string>;              // policy, budget
  std::map<Key, std::map<std::string, const Run*>> replayed;  // by prompt
  const std::vector<Run> replay_runs = runs_over_layers(replay);
  std::set<std::string> replayed_prompts;
  for (const Run& run : replay_runs) {
    replayed[{run.key, run.budget_text}][run.prompt] = &run;
    replayed_prompts.insert(run.prompt);
  }
  require_columns(validate, {"turn", "task"});
  const std::size_t kl_column = validate.column("kl");
  CalibrationData data;
  std::vector<Run> runs = runs_over_layers(validate);
  std::erase_if(runs, [&](const Run& run) {
    return run.turn != 1 || !replayed_prompts.contains(run.prompt) ||
           (evicts(run.key.parameters) != evicting && !is_full_cache(run.key, run.role));
  });
  data.prompts = prompts_of(runs);
  std::map<std::string, const Run*> first_of_prompt;
  for (const Run& run : runs) first_of_prompt.try_emplace(run.prompt, &run);
  for (const std::string& prompt : data.prompts) {
    data.documents.push_back(first_of_prompt.at(prompt)->document);
    data.tasks.push_back(first_of_prompt.at(prompt)->task);
  }
  std::map<Key, std::map<std::string, const Run*>> live;  // by prompt
  std::vector<Run> first_runs;                            // of every policy and budget, in order
  for (const Run& run : runs) {
    const auto [own, is_new] = live.try_emplace(Key(run.key, run.budget_text));
    if (is_new) first_runs.push_back(run);
    if (validate.number(run.row, kl_column)) own->second[run.prompt] = &run;
  }
  const SlotCurves curves(runs);
  const bool slots_known =
      std::ranges::all_of(runs, [](const Run& run) { return !run.feasible() || run.slots_held.has_value(); });
  const auto policy_of = [&](const PolicyKey& key,
                             const std::vector<WeightedRuns>& own) -> std::optional<RankedPolicy> {
    auto kl = weighted_values(own, [&](const Run& run) { return validate.number(run.row, kl_column); });
    if (!kl) return std::nullopt;
    RankedPolicy policy{key, std::move(*kl), {}};
    for (const MeasureInfo& measure : measures()) {
      policy.measures[index_of(measure.id)] = weighted_values(own, [&](const Run& run) -> std::optional<double> {
        const auto same = replayed.find({run.key, run.budget_text});
        if (same == replayed.end() || !same->second.contains(run.prompt)) return std::nullopt;
        const auto value = (*same->second.at(run.prompt))[measure.id];
        return value ? std::optional(amount_lost(measure.id, *value)) : std::nullopt;
      });
    }
    return policy;
  };
  for (const Run& run : first_runs) {
    auto group = std::ranges::find(data.budgets, run.budget, &RankedBudget::budget);
    if (group == data.budgets.end()) group = data.budgets.insert(group, {run.budget, {}, {}});
    const Key key(run.key, run.budget_text);
    const std::map<std::string, const Run*>& own = live.at(key);
    if (run.role != Role::kMethod || !replayed.contains(key) || own.size() < data.prompts.size()) continue;
    std::vector<WeightedRuns> held;
    PromptSlots prompts;
    for (const std::string& prompt : data.prompts) {
      held.push_back({{own.at(prompt), 1.0}});
      prompts[prompt] = own.at(prompt)->slots_held.value_or(0.0);
    }
    std::optional<std::vector<WeightedRuns>> compared;
    if (!slots_known) compared = held;
    if (const auto slots = curves.compared_on(run.budget_text, prompts)) {
      if (const auto runs_there = curves.runs(run.key, run.budget_text, *slots)) {
        compared.emplace();
        for (const std::string& prompt : data.prompts) compared->push_back(runs_there->at(prompt));
      }
    }
    group->as_held.push_back(*policy_of(run.key, held));
    auto policy = compared ? policy_of(run.key, *compared) : std::nullopt;
    if (policy) group->policies.push_back(std::move(*policy));
  }
  return data;
}

}  // namespace evictlab::results
