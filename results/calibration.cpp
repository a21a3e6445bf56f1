#include "results/calibration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/random.hpp"
#include "results/calibration_data.hpp"

namespace evictlab::results {
namespace {

constexpr std::size_t kMeasures = kOfflineMeasures.size();
constexpr int kHalvings = 100;

Cell cell_of(std::optional<double> value) {
  Cell cell;
  if (value) cell = *value;
  return cell;
}

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

RankAgreement mean_agreement(const Budgets& budgets, std::size_t measure, const PromptDraw& draw) {
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

bool measured(const Budgets& budgets, std::size_t measure) {
  return !budgets.empty() &&
         std::ranges::all_of(budgets, [&](const RankedBudget* budget) { return budget->has(measure); });
}

/// The measure of the largest tau-b; none when nothing is measured.
std::optional<std::size_t> best_measure(const Budgets& budgets, const PromptDraw& draw) {
  std::optional<std::size_t> best;
  double tau = 0.0;
  for (std::size_t m = 0; m < kMeasures; ++m) {
    if (!measured(budgets, m)) continue;
    const double own = mean_agreement(budgets, m, draw).tau_b;
    if (!best || own > tau) std::tie(best, tau) = std::pair(std::optional(m), own);
  }
  return best;
}

void add_interval(std::vector<Cell>& cells, double value, const std::vector<double>& resampled, double confidence) {
  cells.emplace_back(value);
  for (const double q : {0.5 * (1.0 - confidence), 0.5 * (1.0 + confidence)}) {
    cells.push_back(cell_of(resampled.empty() ? std::nullopt : std::optional(quantile(resampled, q))));
  }
}

/// Rows of all measures for some budgets.
void add_rows(Table& table, const Cell& name, std::size_t policies, const Budgets& budgets, const Draws& draws,
              std::optional<std::size_t> chosen) {
  const std::optional<std::size_t> best = best_measure(budgets, draws.all);
  std::array<std::vector<RankAgreement>, kMeasures> resampled;  // by draw
  for (std::size_t m = 0; m < kMeasures && draws.enough(); ++m) {
    if (!measured(budgets, m)) continue;
    for (const PromptDraw& draw : draws.resampled) resampled[m].push_back(mean_agreement(budgets, m, draw));
  }
  std::optional<double> ceiling;
  if (draws.enough() && !budgets.empty()) ceiling = ceiling_of(budgets, draws.prompts, draws.seed);
  for (std::size_t m = 0; m < kMeasures; ++m) {
    std::vector<Cell> cells = {name, std::string(kOfflineMeasures[m].column), static_cast<std::int64_t>(policies),
                               static_cast<std::int64_t>(draws.prompts)};
    std::string status = "ok";
    if (!draws.enough())
      status = fmt::format("{} prompts: intervals and halves need {}", draws.prompts, kFewestPrompts);
    if (!measured(budgets, m)) {
      cells.resize(table.columns().size() - 2);
      cells.push_back(cell_of(ceiling));
      status = budgets.empty() ? fmt::format("{} policies: an order needs {}", policies, kFewestPolicies)
                               : std::string("not measured on every prompt");
      cells.emplace_back(status);
      table.add_row(std::move(cells));
      continue;
    }
    std::vector<double> spearman, tau, to_best;
    for (std::size_t i = 0; i < resampled[m].size(); ++i) {
      spearman.push_back(resampled[m][i].spearman);
      tau.push_back(resampled[m][i].tau_b);
      to_best.push_back(resampled[m][i].tau_b - resampled[*best][i].tau_b);
    }
    const RankAgreement own = mean_agreement(budgets, m, draws.all);
    add_interval(cells, own.spearman, spearman, draws.confidence);
    add_interval(cells, own.tau_b, tau, draws.confidence);
    if (m == *best) {
      cells.insert(cells.end(), 3, Cell());
    } else {
      add_interval(cells, own.tau_b - mean_agreement(budgets, *best, draws.all).tau_b, to_best, draws.confidence);
    }
    for (const PromptDraw* half : {&draws.first, &draws.second}) {
      std::optional<double> of_half;
      if (draws.enough()) of_half = mean_agreement(budgets, m, *half).tau_b;
      cells.push_back(cell_of(of_half));
    }
    cells.emplace_back();
    if (chosen) cells.back() = std::string(m == *chosen ? "yes" : "no");
    cells.push_back(cell_of(ceiling));
    cells.emplace_back(std::move(status));
    table.add_row(std::move(cells));
  }
}

void add_predictions(Table& table, const RankedBudget& budget) {
  for (const RankedPolicy& policy : budget.policies) {
    for (std::size_t m = 0; m < kMeasures; ++m) {
      if (!policy.measures[m]) continue;
      std::vector<double> values = *policy.measures[m];
      if (kOfflineMeasures[m].larger_is_better) std::ranges::transform(values, values.begin(), std::negate{});
      const Interval predicted = bootstrap_mean(values);
      const Interval kl = bootstrap_mean(policy.kl);
      table.add_row({budget.budget, policy.policy, policy.parameters, std::string(kOfflineMeasures[m].column),
                     predicted.mean, predicted.low, predicted.high, kl.mean, kl.low, kl.high});
    }
  }
}

std::string label_of(const RankedPolicy& policy) {
  return policy.parameters.empty() ? policy.policy : fmt::format("{}({})", policy.policy, policy.parameters);
}

void add_disagreements(std::vector<std::vector<Cell>>& rows, const RankedBudget& budget, std::size_t measure) {
  if (!budget.has(measure)) return;
  for (const RankedPolicy& a : budget.policies) {
    for (const RankedPolicy& b : budget.policies) {
      // a is predicted better, b is.
      const double predicted = mean(*b.measures[measure]) - mean(*a.measures[measure]);
      const double really = mean(a.kl) - mean(b.kl);
      if (!(predicted > 0.0 && really > 0.0)) continue;
      const Interval kl = bootstrap_paired_difference(a.kl, b.kl);
      rows.push_back({budget.budget, std::string(kOfflineMeasures[measure].column), label_of(a), label_of(b), predicted,
                      kl.mean, kl.low, kl.high});
    }
  }
}

}  // namespace

void require_replay_columns(const Table& replay) {
  for (const char* column : {"prompt", "policy", "parameters", "budget_requested", "layer"}) replay.column(column);
  for (const OfflineMeasure& measure : kOfflineMeasures) replay.column(measure.column);
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
  result.measures = Table({"budget_requested", "measure", "policies", "prompts", "spearman", "spearman_low",
                           "spearman_high", "tau_b", "tau_b_low", "tau_b_high", "to_best", "to_best_low",
                           "to_best_high", "tau_b_first_half", "tau_b_second_half", "chosen", "ceiling", "status"});
  result.predictions = Table({"budget_requested", "policy", "parameters", "measure", "predicted", "predicted_low",
                              "predicted_high", "kl", "kl_low", "kl_high"});
  result.disagreements = Table({"budget_requested", "measure", "predicted_better", "better", "measure_difference",
                                "kl_difference", "kl_low", "kl_high"});
  Budgets ranked;
  std::size_t most_policies = 0;
  for (const RankedBudget& budget : data.budgets) {
    most_policies = std::max(most_policies, budget.policies.size());
    if (budget.policies.size() >= kFewestPolicies && !data.prompts.empty()) ranked.push_back(&budget);
  }
  const std::optional<std::size_t> chosen = draws.enough() ? best_measure(ranked, draws.first) : std::nullopt;
  if (chosen) result.chosen = kOfflineMeasures[*chosen].column;
  for (const RankedBudget& budget : data.budgets) {
    const bool enough = std::ranges::find(ranked, &budget) != ranked.end();
    add_rows(result.measures, budget.budget, budget.policies.size(), enough ? Budgets{&budget} : Budgets{}, draws,
             chosen);
    if (!data.prompts.empty()) add_predictions(result.predictions, budget);
  }
  add_rows(result.measures, std::string("all"), most_policies, ranked, draws, chosen);

  const std::optional<std::size_t> looked_at = chosen ? chosen : best_measure(ranked, draws.all);
  std::vector<std::vector<Cell>> rows;
  for (const RankedBudget* budget : ranked) {
    if (looked_at) add_disagreements(rows, *budget, *looked_at);
  }
  std::ranges::stable_sort(rows, std::ranges::greater{}, [](const auto& row) { return std::get<double>(row[5]); });
  for (std::vector<Cell>& row : rows) result.disagreements.add_row(std::move(row));
  return result;
}

}  // namespace evictlab::results
