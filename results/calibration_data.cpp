#include "results/calibration_data.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "results/rank_correlation.hpp"

namespace evictlab::results {
namespace {

bool is_control(const std::string& policy) {
  return policy == "full" || policy == "oracle" || policy == "random" || policy == "protect-only";
}

/// What tells runs apart.
std::string run_of(const Table& table, std::size_t row) {
  const auto text = [&](const char* column) { return table.text(row, table.column(column)); };
  return text("policy") + "\n" + text("parameters") + "\n" + text("budget_requested");
}

std::vector<double> values_of(const std::map<std::string, std::size_t>& rows, const std::vector<std::string>& prompts,
                              const Table& replay, const OfflineMeasure& measure) {
  std::vector<double> values;
  for (const std::string& prompt : prompts) {
    const auto value = replay.number(rows.at(prompt), replay.column(measure.column));
    if (!value) return {};
    values.push_back(measure.larger_is_better ? -*value : *value);
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

bool RankedBudget::has(std::size_t measure) const {
  return std::ranges::all_of(policies,
                             [&](const RankedPolicy& policy) { return policy.measures[measure].has_value(); });
}

CalibrationData join(const Table& validate, const Table& replay) {
  std::map<std::string, std::map<std::string, std::size_t>> replayed;  // run → prompt → row
  const std::size_t layer = replay.column("layer");
  std::set<std::string> replayed_prompts;
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    if (replay.text(row, layer) != "all") continue;
    const std::string prompt = replay.text(row, replay.column("prompt"));
    replayed[run_of(replay, row)][prompt] = row;
    replayed_prompts.insert(prompt);
  }
  CalibrationData data;
  std::map<std::string, std::size_t> of_task;
  std::map<std::string, std::map<std::string, double>> live;  // run → prompt → KL
  std::vector<std::pair<std::string, std::size_t>> runs;      // with a row of theirs, in order
  std::set<std::string> known;
  for (std::size_t row = 0; row < validate.rows(); ++row) {
    const std::string prompt = validate.text(row, validate.column("prompt"));
    if (validate.text(row, validate.column("turn")) != "1" || !replayed_prompts.contains(prompt)) continue;
    if (known.insert(prompt).second) {
      data.prompts.push_back(prompt);
      data.first_half.push_back(of_task[validate.text(row, validate.column("task"))]++ % 2 == 0);
    }
    const std::string run = run_of(validate, row);
    if (!live.contains(run)) runs.emplace_back(run, row);
    std::map<std::string, double>& own = live[run];
    if (const auto kl = validate.number(row, validate.column("kl"))) own[prompt] = *kl;
  }
  for (const auto& [run, row] : runs) {
    const auto text = [&, r = row](const char* column) { return validate.text(r, validate.column(column)); };
    const Cell budget = validate.row(row)[validate.column("budget_requested")];
    auto group = std::ranges::find(data.budgets, budget, &RankedBudget::budget);
    if (group == data.budgets.end()) group = data.budgets.insert(group, {budget, {}});
    const auto own = replayed.find(run);
    if (is_control(text("policy")) || own == replayed.end() || live[run].size() < data.prompts.size()) continue;
    RankedPolicy policy{text("policy"), text("parameters"), {}, {}};
    const bool everywhere =
        std::ranges::all_of(data.prompts, [&](const std::string& prompt) { return own->second.contains(prompt); });
    for (const std::string& prompt : data.prompts) policy.kl.push_back(live[run].at(prompt));
    for (std::size_t m = 0; m < kOfflineMeasures.size() && everywhere; ++m) {
      std::vector<double> values = values_of(own->second, data.prompts, replay, kOfflineMeasures[m]);
      if (!values.empty()) policy.measures[m] = std::move(values);
    }
    group->policies.push_back(std::move(policy));
  }
  return data;
}

RankAgreement agreement(const RankedBudget& budget, std::size_t measure, const PromptDraw& draw) {
  std::vector<double> predicted;
  for (const RankedPolicy& policy : budget.policies) predicted.push_back(mean_over(*policy.measures[measure], draw));
  const std::vector<double> really = kl_means(budget, draw);
  return {spearman_of_values(predicted, really), kendall_tau_b(predicted, really)};
}

double live_agreement(const RankedBudget& budget, const PromptDraw& first, const PromptDraw& second) {
  return kendall_tau_b(kl_means(budget, first), kl_means(budget, second));
}

}  // namespace evictlab::results
