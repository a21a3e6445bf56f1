#include "results/calibration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "core/random.hpp"
#include "results/calibration_data.hpp"
#include "results/labels.hpp"
#include "results/schema.hpp"

namespace evictlab::results {
namespace {

constexpr int kHalvings = 100;

PromptDraw all_of(std::size_t prompts) {
  PromptDraw draw(prompts);
  std::iota(draw.begin(), draw.end(), std::size_t{0});
  return draw;
}

PromptDraw half_of(const CalibrationData& data, bool first) {
  PromptDraw draw;
  for (std::size_t i = 0; i < data.prompts.size(); ++i) {
    if (data.first_half[i] == first) draw.push_back(i);
  }
  return draw;
}

std::vector<PromptDraw> resamples(std::size_t prompts, const BootstrapOptions& options) {
  core::SplitMix64 random(options.seed);
  std::vector<PromptDraw> draws(options.resamples, PromptDraw(prompts));
  for (PromptDraw& draw : draws) {
    for (std::size_t& prompt : draw) prompt = static_cast<std::size_t>(random.uniform() * static_cast<double>(prompts));
  }
  return draws;
}

/// Of one or more budgets together: agreement is their mean.
using Budgets = std::vector<const RankedBudget*>;

RankAgreement mean_agreement(const Budgets& budgets, Measure measure, const PromptDraw& draw) {
  RankAgreement mean;
  for (const RankedBudget* budget : budgets) {
    const RankAgreement own = agreement(*budget, measure, draw);
    mean.spearman += own.spearman / static_cast<double>(budgets.size());
    mean.tau_b += own.tau_b / static_cast<double>(budgets.size());
  }
  return mean;
}

/// Mean over ways to halve the prompts; the same ways whatever the budgets.
double ceiling_of(const Budgets& budgets, std::size_t prompts, std::uint64_t seed) {
  core::SplitMix64 random(seed);
  double sum = 0.0;
  for (int halving = 0; halving < kHalvings; ++halving) {
    PromptDraw order = all_of(prompts);
    for (std::size_t i = prompts; i-- > 1;) {
      std::swap(order[i], order[static_cast<std::size_t>(random.uniform() * static_cast<double>(i + 1))]);
    }
    const auto middle = order.begin() + static_cast<std::ptrdiff_t>(prompts / 2);
    const PromptDraw first(order.begin(), middle);
    const PromptDraw second(middle, order.end());
    for (const RankedBudget* budget : budgets) {
      sum += live_agreement(*budget, first, second) / static_cast<double>(budgets.size());
    }
  }
  return sum / kHalvings;
}

/// What is the same for every row.
struct Draws {
  std::size_t prompts;
  PromptDraw all, first, second;
  std::vector<PromptDraw> resampled;
  std::uint64_t seed;
  double confidence;

  bool enough() const { return prompts >= kFewestPrompts && !first.empty() && !second.empty(); }
};

bool measured(const Budgets& budgets, Measure measure) {
  return !budgets.empty() &&
         std::ranges::all_of(budgets, [&](const RankedBudget* budget) { return budget->has(measure); });
}

/// The measure of the largest tau-b; none when nothing is measured.
std::optional<Measure> best_measure(const Budgets& budgets, const PromptDraw& draw) {
  std::optional<Measure> best;
  double tau = 0.0;
  for (const MeasureInfo& measure : measures()) {
    if (!measured(budgets, measure.id)) continue;
    const double own = mean_agreement(budgets, measure.id, draw).tau_b;
    if (!best || own > tau) std::tie(best, tau) = std::pair(std::optional(measure.id), own);
  }
  return best;
}

/// Sets "<name>", and "<name>_low" and "<name>_high" from the values of resampled prompts, where there are any.
void set_resampled(Row& row, const std::string& name, double value, const std::vector<double>& resampled,
                   double confidence) {
  row.set(name, value);
  if (resampled.empty()) return;
  row.set(name + "_low", quantile(resampled, 0.5 * (1.0 - confidence)));
  row.set(name + "_high", quantile(resampled, 0.5 * (1.0 + confidence)));
}

/// The row of a measure that is measured.
void set_agreement(Row& row, const Budgets& budgets, Measure measure, Measure best, const Draws& draws,
                   const std::array<std::vector<RankAgreement>, kMeasureCount>& resampled) {
  const std::vector<RankAgreement>& own_draws = resampled[index_of(measure)];
  const std::vector<RankAgreement>& best_draws = resampled[index_of(best)];
  std::vector<double> spearman, tau, to_best;
  for (std::size_t i = 0; i < own_draws.size(); ++i) {
    spearman.push_back(own_draws[i].spearman);
    tau.push_back(own_draws[i].tau_b);
    to_best.push_back(own_draws[i].tau_b - best_draws[i].tau_b);
  }
  const RankAgreement own = mean_agreement(budgets, measure, draws.all);
  set_resampled(row, "spearman", own.spearman, spearman, draws.confidence);
  set_resampled(row, "tau_b", own.tau_b, tau, draws.confidence);
  if (measure != best) {
    const double behind = own.tau_b - mean_agreement(budgets, best, draws.all).tau_b;
    set_resampled(row, "to_best", behind, to_best, draws.confidence);
  }
  if (!draws.enough()) return;
  row.set("tau_b_first_half", mean_agreement(budgets, measure, draws.first).tau_b);
  row.set("tau_b_second_half", mean_agreement(budgets, measure, draws.second).tau_b);
}

/// Rows of all measures for some budgets.
void add_rows(Table& table, const Cell& name, std::size_t policies, std::size_t left_out, const Budgets& budgets,
              const Draws& draws, std::optional<Measure> chosen) {
  const std::optional<Measure> best = best_measure(budgets, draws.all);
  std::array<std::vector<RankAgreement>, kMeasureCount> resampled;  // by measure, then draw
  for (const MeasureInfo& measure : measures()) {
    if (!draws.enough() || !measured(budgets, measure.id)) continue;
    for (const PromptDraw& draw : draws.resampled) {
      resampled[index_of(measure.id)].push_back(mean_agreement(budgets, measure.id, draw));
    }
  }
  std::optional<double> ceiling;
  if (draws.enough() && !budgets.empty()) ceiling = ceiling_of(budgets, draws.prompts, draws.seed);
  for (const MeasureInfo& measure : measures()) {
    Row row(table);
    row.set("budget_requested", name)
        .set("measure", measure.column)
        .set("policies", policies)
        .set("left_out", left_out)
        .set("prompts", draws.prompts)
        .set("ceiling", ceiling);
    std::string status = "ok";
    if (!draws.enough())
      status = fmt::format("{} prompts: intervals and halves need {}", draws.prompts, kFewestPrompts);
    if (measured(budgets, measure.id)) {
      set_agreement(row, budgets, measure.id, *best, draws, resampled);
      if (chosen) row.set("chosen", measure.id == *chosen ? "yes" : "no");
    } else {
      status = budgets.empty() ? fmt::format("{} policies: an order needs {}", policies, kFewestPolicies)
                               : std::string("not measured on every prompt");
    }
    row.set("status", std::move(status));
    table.add_row(std::move(row));
  }
}

void add_predictions(Table& table, const RankedBudget& budget) {
  for (const RankedPolicy& policy : budget.as_held) {
    const Interval kl = bootstrap_mean(policy.kl);
    for (const MeasureInfo& measure : measures()) {
      if (!policy.measures[index_of(measure.id)]) continue;
      std::vector<double> values = *policy.measures[index_of(measure.id)];
      if (measure.better == Better::kHigher) std::ranges::transform(values, values.begin(), std::negate{});
      Row row(table);
      set_run(row, policy.key, Role::kMethod, budget.budget).set("measure", measure.column);
      set_interval(row, "predicted", bootstrap_mean(values));
      set_interval(row, "kl", kl);
      table.add_row(std::move(row));
    }
  }
}

/// Two policies that a measure puts in the wrong order.
struct Disagreement {
  const RankedBudget* budget;
  const RankedPolicy* predicted_better;
  const RankedPolicy* better;
  double predicted;
  Interval kl;
};

void add_disagreements(std::vector<Disagreement>& pairs, const RankedBudget& budget, Measure measure) {
  if (!budget.has(measure)) return;
  const std::size_t m = index_of(measure);
  for (const RankedPolicy& a : budget.policies) {
    for (const RankedPolicy& b : budget.policies) {
      // a is predicted better, b is.
      const double predicted = mean(*b.measures[m]) - mean(*a.measures[m]);
      const double really = mean(a.kl) - mean(b.kl);
      if (!(predicted > 0.0 && really > 0.0)) continue;
      pairs.push_back({&budget, &a, &b, predicted, bootstrap_paired_difference(a.kl, b.kl)});
    }
  }
}

Table disagreement_table(std::vector<Disagreement> pairs, Measure measure) {
  std::ranges::stable_sort(pairs, std::ranges::greater{}, [](const Disagreement& pair) { return pair.kl.mean; });
  Table table = new_table("disagreements");
  for (const Disagreement& pair : pairs) {
    Row row(table);
    row.set("budget_requested", pair.budget->budget)
        .set("measure", info(measure).column)
        .set("predicted_better", full_label(pair.predicted_better->key))
        .set("better", full_label(pair.better->key))
        .set("measure_difference", pair.predicted);
    row.set("kl_difference", pair.kl.mean).set("kl_low", pair.kl.low).set("kl_high", pair.kl.high);
    table.add_row(std::move(row));
  }
  return table;
}

}  // namespace

void require_replay_columns(const Table& replay) {
  require_columns(replay, {"prompt", "policy", "parameters", "budget_requested", "layer"});
  const auto has = [&](const MeasureInfo& measure) { return replay.find_column(measure.column).has_value(); };
  if (std::ranges::none_of(measures(), has)) require_columns(replay, {info(Measure::kRetainedMass).column});
}

Calibration calibrate(const Table& validate, const Table& replay, const BootstrapOptions& options) {
  require_replay_columns(replay);
  const CalibrationData data = join(validate, replay);
  const Draws draws{data.prompts.size(),
                    all_of(data.prompts.size()),
                    half_of(data, true),
                    half_of(data, false),
                    resamples(data.prompts.size(), options),
                    options.seed,
                    options.confidence};
  Calibration result;
  result.measures = new_table("calibration");
  result.predictions = new_table("predictions");
  Budgets ranked;
  std::size_t most_policies = 0;
  std::size_t most_left_out = 0;
  for (const RankedBudget& budget : data.budgets) {
    most_policies = std::max(most_policies, budget.policies.size());
    most_left_out = std::max(most_left_out, budget.left_out());
    if (budget.policies.size() >= kFewestPolicies && !data.prompts.empty()) ranked.push_back(&budget);
  }
  const std::optional<Measure> chosen = draws.enough() ? best_measure(ranked, draws.first) : std::nullopt;
  if (chosen) result.chosen = info(*chosen).column;
  for (const RankedBudget& budget : data.budgets) {
    const bool enough = std::ranges::find(ranked, &budget) != ranked.end();
    add_rows(result.measures, budget.budget, budget.policies.size(), budget.left_out(),
             enough ? Budgets{&budget} : Budgets{}, draws, chosen);
    if (!data.prompts.empty()) add_predictions(result.predictions, budget);
  }
  add_rows(result.measures, std::string("all"), most_policies, most_left_out, ranked, draws, chosen);

  const std::optional<Measure> looked_at = chosen ? chosen : best_measure(ranked, draws.all);
  std::vector<Disagreement> pairs;
  for (const RankedBudget* budget : ranked) {
    if (looked_at) add_disagreements(pairs, *budget, *looked_at);
  }
  result.disagreements = disagreement_table(std::move(pairs), looked_at.value_or(Measure::kRetainedMass));
  return result;
}

}  // namespace evictlab::results
