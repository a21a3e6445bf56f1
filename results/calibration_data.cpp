#include "results/calibration_data.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "results/rank_correlation.hpp"

namespace evictlab::results {
namespace {

/// By prompt, larger is worse; nothing when the measure is missing on some prompt.
std::vector<double> losses_of(const std::map<std::string, Run>& runs, const std::vector<std::string>& prompts,
                              Measure measure) {
  std::vector<double> values;
  for (const std::string& prompt : prompts) {
    const auto value = runs.at(prompt)[measure];
    if (!value) return {};
    values.push_back(as_loss(measure, *value));
  }
  return values;
}

double mean_over(const std::vector<double>& values, const PromptDraw& draw) {
  double sum = 0.0;
  for (const std::size_t prompt : draw) sum += values[prompt];
  return sum / static_cast<double>(draw.size());
}

std::vector<double> kl_means(const RankedBudget& budget, const PromptDraw& draw) {
  std::vector<double> means;
  for (const RankedPolicy& policy : budget.policies) means.push_back(mean_over(policy.kl, draw));
  return means;
}

}  // namespace

bool RankedBudget::has(Measure measure) const {
  return std::ranges::all_of(
      policies, [&](const RankedPolicy& policy) { return policy.measures[index_of(measure)].has_value(); });
}

CalibrationData join(const Table& validate, const Table& replay) {
  using Key = std::pair<PolicyKey, std::string>;       // policy, budget
  std::map<Key, std::map<std::string, Run>> replayed;  // by prompt
  std::set<std::string> replayed_prompts;
  for (const Run& run : runs_over_layers(replay)) {
    replayed[{run.key, run.budget_text}][run.prompt] = run;
    replayed_prompts.insert(run.prompt);
  }
  require_columns(validate, {"turn", "task"});
  const std::size_t kl_column = validate.column("kl");
  CalibrationData data;
  std::vector<Run> runs = runs_over_layers(validate);
  std::erase_if(runs, [&](const Run& run) { return run.turn != 1 || !replayed_prompts.contains(run.prompt); });
  data.prompts = prompts_of(runs);
  const std::set<std::string> halved = first_half(runs);
  for (const std::string& prompt : data.prompts) data.first_half.push_back(halved.contains(prompt));
  std::map<Key, std::map<std::string, double>> live;  // KL by prompt
  std::vector<Run> first_runs;                        // of every policy and budget, in order
  for (const Run& run : runs) {
    const auto [own, is_new] = live.try_emplace(Key(run.key, run.budget_text));
    if (is_new) first_runs.push_back(run);
    if (const auto kl = validate.number(run.row, kl_column)) own->second[run.prompt] = *kl;
  }
  for (const Run& run : first_runs) {
    auto group = std::ranges::find(data.budgets, run.budget, &RankedBudget::budget);
    if (group == data.budgets.end()) group = data.budgets.insert(group, {run.budget, {}});
    const Key key(run.key, run.budget_text);
    const auto own = replayed.find(key);
    const std::map<std::string, double>& kl = live.at(key);
    if (run.role != Role::kMethod || own == replayed.end() || kl.size() < data.prompts.size()) continue;
    RankedPolicy policy{run.key, {}, {}};
    const bool everywhere =
        std::ranges::all_of(data.prompts, [&](const std::string& prompt) { return own->second.contains(prompt); });
    for (const std::string& prompt : data.prompts) policy.kl.push_back(kl.at(prompt));
    for (const MeasureInfo& measure : measures()) {
      if (!everywhere) break;
      std::vector<double> values = losses_of(own->second, data.prompts, measure.id);
      if (!values.empty()) policy.measures[index_of(measure.id)] = std::move(values);
    }
    group->policies.push_back(std::move(policy));
  }
  return data;
}

RankAgreement agreement(const RankedBudget& budget, Measure measure, const PromptDraw& draw) {
  std::vector<double> predicted;
  for (const RankedPolicy& policy : budget.policies)
    predicted.push_back(mean_over(*policy.measures[index_of(measure)], draw));
  const std::vector<double> really = kl_means(budget, draw);
  return {spearman_of_values(predicted, really), kendall_tau_b(predicted, really)};
}

double live_agreement(const RankedBudget& budget, const PromptDraw& first, const PromptDraw& second) {
  return kendall_tau_b(kl_means(budget, first), kl_means(budget, second));
}

}  // namespace evictlab::results
