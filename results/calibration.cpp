#include "results/calibration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "core/parallel.hpp"
#include "core/random.hpp"
#include "results/calibration_data.hpp"
#include "results/evicts.hpp"
#include "results/labels.hpp"
#include "results/prediction_errors.hpp"
#include "results/rank_agreement.hpp"
#include "results/schema.hpp"
#include "results/task_values.hpp"

namespace evictlab::results {
namespace {

/// Splits that choose the measure within a half or a fold; the halves are many.
constexpr int kInnerSplits = 20;

std::size_t documents_among(const CalibrationData& data, const std::vector<bool>& among) {
  std::set<std::string> documents;
  for (std::size_t i = 0; i < among.size(); ++i) {
    if (among[i]) documents.insert(data.documents[i]);
  }
  return documents.size();
}

/// Chooses a measure and learns its map.
std::optional<ForetellingMap> foretelling_map(const LiveRuns& runs, const Documents& documents) {
  const auto measure = choose_measure(runs, documents, {.inner_splits = kInnerSplits});
  if (!measure) return std::nullopt;
  const auto map = learn_map(runs, *measure, documents);
  return map ? std::optional(ForetellingMap{*measure, *map}) : std::nullopt;
}

/// Numbers of times that each document is drawn, then by prompt.
std::vector<std::vector<std::size_t>> drawn_prompts(const std::vector<std::size_t>& document_of, std::size_t documents,
                                                    std::size_t draws, std::uint64_t seed) {
  core::SplitMix64 random(core::SplitMix64::mix(seed));
  std::vector<std::vector<std::size_t>> all;
  for (std::size_t draw = 0; draw < draws; ++draw) {
    std::vector<std::size_t> counts(documents, 0);
    for (std::size_t i = 0; i < documents; ++i) {
      ++counts[static_cast<std::size_t>(random.uniform() * static_cast<double>(documents))];
    }
    std::vector<std::size_t>& own = all.emplace_back();
    for (const std::size_t document : document_of) own.push_back(counts[document]);
  }
  return all;
}

DocumentDraws document_draws(const LiveRuns& runs, const CalibrationOptions& options) {
  const std::vector<std::size_t>& document_of = runs.ranked_documents;
  const Documents all = every_document(runs);
  DocumentDraws draws;
  draws.resampled = drawn_prompts(document_of, all.size(), options.resamples, options.seed);
  draws.transfer_resampled = drawn_prompts(document_of, all.size(), options.transfer_resamples, options.seed + 1);
  draws.halvings.resize(options.splits);
  core::parallel_for(options.splits, [&](std::size_t i) {
    const Documents first = random_halves(all, options.seed + i).first;
    DocumentDraws::Halving& own = draws.halvings[i];
    own.learned = foretelling_map(runs, first);
    for (const std::size_t document : document_of) own.first.push_back(std::ranges::binary_search(first, document));
  });
  const std::size_t folds = std::min(LearnOptions{}.folds, all.size());
  std::vector<std::optional<ForetellingMap>> by_fold(folds);
  core::parallel_for(folds, [&](std::size_t fold) {
    Documents seen;
    for (const std::size_t document : all) {
      if (document % folds != fold) seen.push_back(document);
    }
    by_fold[fold] = foretelling_map(runs, seen);
  });
  for (const std::size_t document : document_of) draws.held_out.push_back(by_fold[document % folds]);
  return draws;
}

/// The measures of one scope, by measure.
using Agreements = std::array<std::optional<RankAgreement>, kMeasureCount>;

Agreements agreements_of(const RankingScope& scope, const DocumentDraws& draws) {
  Agreements all;
  core::parallel_for(kMeasureCount, [&](std::size_t i) {
    const Measure measure = measures()[i].id;
    if (is_calibrated(measure) || measure == Measure::kPredictedKl) all[i] = rank_agreement(scope, measure, draws);
  });
  return all;
}

/// The measure that orders best, of those that are measured.
std::optional<Measure> best_measure(const Agreements& agreements) {
  std::optional<Measure> best;
  double tau = 0.0;
  for (const MeasureInfo& measure : measures()) {
    const auto& own = agreements[index_of(measure.id)];
    if (!own || !is_calibrated(measure.id) || (best && own->same.mean_kl <= tau)) continue;
    std::tie(best, tau) = std::pair(std::optional(measure.id), own->same.mean_kl);
  }
  return best;
}

/// Sets "<name>", and "<name>_low" and "<name>_high" from the values of resampled documents, where there are any.
void set_resampled(Row& row, const std::string& name, double value, const std::vector<double>& resampled,
                   double confidence) {
  Interval interval{.mean = value};
  if (!resampled.empty()) {
    interval.low = quantile(resampled, 0.5 * (1.0 - confidence));
    interval.high = quantile(resampled, 0.5 * (1.0 + confidence));
  }
  set_interval(row, name, interval);
}

std::vector<double> against_mean_kl(const std::vector<TauB>& taus) {
  std::vector<double> values;
  for (const TauB& tau : taus) values.push_back(tau.mean_kl);
  return values;
}

std::vector<double> differences_of(std::vector<double> a, const std::vector<double>& b) {
  if (a.size() != b.size()) return {};
  for (std::size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

/// "<name>": how much better one measure orders than another, paired over draws.
void set_tau_difference(Row& row, const std::string& name, const RankAgreement& own, const RankAgreement& other,
                        double confidence) {
  set_resampled(row, name, own.same.mean_kl - other.same.mean_kl,
                differences_of(against_mean_kl(own.same_drawn), against_mean_kl(other.same_drawn)), confidence);
}

void set_agreement(Row& row, const Agreements& agreements, Measure measure, Measure best, double confidence) {
  const RankAgreement& own = *agreements[index_of(measure)];
  set_resampled(row, "tau_b", own.same.mean_kl, against_mean_kl(own.same_drawn), confidence);
  row.set("tau_b_log", own.same.log_kl);
  if (own.transfer) {
    set_resampled(row, "transfer", own.transfer->mean_kl, own.transfer_drawn, confidence);
    row.set("transfer_log", own.transfer->log_kl);
  }
  if (measure != best) set_tau_difference(row, "to_best", own, *agreements[index_of(best)], confidence);
  const auto& mass = agreements[index_of(Measure::kRetainedMass)];
  if (measure == Measure::kRetainedMass || !mass) return;
  set_tau_difference(row, "to_retained_mass", own, *mass, confidence);
  if (!own.transfer || !mass->transfer) return;
  set_resampled(row, "transfer_to_retained_mass", own.transfer->mean_kl - mass->transfer->mean_kl,
                differences_of(own.transfer_drawn, mass->transfer_drawn), confidence);
}

/// What rows of a budget and task have in common.
struct ScopeNames {
  Evicts evicting = Evicts::kAtPrompt;
  Cell budget;
  std::string task;
  std::size_t policies = 0;
  std::size_t left_out = 0;
  std::size_t prompts = 0;
  std::size_t documents = 0;
};

/// Rows of all measures for some budgets.
void add_rows(Table& table, const ScopeNames& names, const RankingScope& scope, const DocumentDraws& draws,
              std::optional<Measure> chosen, double confidence) {
  const Agreements agreements = agreements_of(scope, draws);
  const std::optional<Measure> best = best_measure(agreements);
  const auto live = live_agreement(scope, draws);
  for (const MeasureInfo& measure : measures()) {
    if (!is_calibrated(measure.id) && measure.id != Measure::kPredictedKl) continue;
    Row row(table);
    row.set("eviction", evicts_name(names.evicting))
        .set("budget_requested", names.budget)
        .set("task", names.task)
        .set("measure", measure.column)
        .set("policies", names.policies)
        .set("left_out", names.left_out)
        .set("prompts", names.prompts)
        .set("documents", names.documents);
    if (live && live->transfer) {
      set_resampled(row, "ceiling", live->transfer->mean_kl, live->transfer_drawn, confidence);
      row.set("ceiling_log", live->transfer->log_kl);
    }
    std::string status = "ok";
    if (!scope.has_halves) {
      status = fmt::format("{} documents: intervals and halves need {}", names.documents, kFewestDocuments);
    }
    if (agreements[index_of(measure.id)] && best) {
      set_agreement(row, agreements, measure.id, *best, confidence);
      if (chosen) row.set("chosen", measure.id == *chosen ? "yes" : "no");
    } else if (scope.budgets.empty()) {
      status = fmt::format("{} policies: an order needs {}", names.policies, kFewestPolicies);
    } else {
      status = measure.id == Measure::kPredictedKl ? "too little to learn from" : "not measured on every prompt";
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
      // What is kept, of a measure that is better when higher.
      if (measure.better == Better::kHigher) {
        std::ranges::transform(values, values.begin(), [](double lost) { return 1.0 - lost; });
      }
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

namespace {

/// The curve of these runs, in the measure that foretells them where stretches have it, else in squared error.
std::optional<KlCurve> curve_of(const Table& curves, Evicts evicting, Measure measure) {
  const LiveStretches stretches = live_stretches(curves, evicting);
  if (stretches.runs.documents.size() < kFewestDocuments) return std::nullopt;
  for (const Measure own : {measure, Measure::kSquaredError}) {
    if (auto curve = learn_curve(stretches.runs, own, stretches.last_steps)) return curve;
  }
  return std::nullopt;
}

/// Adds what runs of one kind say to the tables; what they teach.
std::optional<CalibratedRuns> calibrate_runs(const LiveRuns& runs, Evicts evicting, const Table* curves,
                                             const CalibrationOptions& options, Calibration& result,
                                             std::vector<Disagreement>& pairs, std::optional<Measure>& looked_at) {
  const CalibrationData& data = runs.ranked;
  std::vector<const RankedBudget*> ranked;
  ScopeNames whole{
      .evicting = evicting, .budget = std::string("all"), .task = kAllTasks, .prompts = data.prompts.size()};
  for (const RankedBudget& budget : data.budgets) {
    whole.policies = std::max(whole.policies, budget.policies.size());
    whole.left_out = std::max(whole.left_out, budget.left_out());
    if (budget.policies.size() >= kFewestPolicies && !data.prompts.empty()) ranked.push_back(&budget);
  }
  const std::vector<bool> everywhere(data.prompts.size(), true);
  whole.documents = documents_among(data, everywhere);

  DocumentDraws draws;
  std::optional<CalibratedRuns> learned;
  const bool has_halves = whole.documents >= kFewestDocuments;
  if (!ranked.empty() && has_halves) {
    draws = document_draws(runs, options);
    learned = learn_calibration(runs);
  }
  std::optional<Measure> chosen;
  if (learned) {
    const PredictionErrors errors = prediction_errors(runs, evicting);
    result.errors.append(errors.table);
    chosen = learned->learned.measure;
    learned->median_factor = errors.median_factor;
    learned->nine_of_ten_factor = errors.nine_of_ten_factor;
    learned->coverage = errors.coverage;
    if (curves != nullptr) learned->curve = curve_of(*curves, evicting, *chosen);
  }
  for (const RankedBudget& budget : data.budgets) {
    ScopeNames names = whole;
    names.budget = budget.budget;
    names.policies = budget.policies.size();
    names.left_out = budget.left_out();
    const bool enough = std::ranges::find(ranked, &budget) != ranked.end();
    add_rows(result.measures, names,
             {.budgets = enough ? std::vector{&budget} : std::vector<const RankedBudget*>(),
              .among = everywhere,
              .has_halves = has_halves},
             draws, chosen, options.confidence);
    if (!data.prompts.empty()) add_predictions(result.predictions, budget);
  }
  add_rows(result.measures, whole, {.budgets = ranked, .among = everywhere, .has_halves = has_halves}, draws, chosen,
           options.confidence);
  const std::set<std::string> tasks(data.tasks.begin(), data.tasks.end());
  for (const std::string& task : tasks) {
    if (tasks.size() < 2) break;
    RankingScope scope{.budgets = ranked, .among = everywhere};
    ScopeNames names = whole;
    names.task = task;
    names.prompts = 0;
    for (std::size_t i = 0; i < data.tasks.size(); ++i) {
      scope.among[i] = data.tasks[i] == task;
      names.prompts += scope.among[i] ? 1 : 0;
    }
    names.documents = documents_among(data, scope.among);
    scope.has_halves = names.documents >= kFewestDocuments;
    add_rows(result.measures, names, scope, draws, chosen, options.confidence);
  }

  RankingScope all{.budgets = ranked, .among = everywhere, .has_halves = false};
  looked_at = chosen ? chosen : best_measure(agreements_of(all, {}));
  for (const RankedBudget* budget : ranked) {
    if (looked_at) add_disagreements(pairs, *budget, *looked_at);
  }
  return learned;
}

}  // namespace

Calibration calibrate(const Table& validate, const Table& replay, const Table* curves,
                      const CalibrationOptions& options) {
  require_replay_columns(replay);
  Calibration result;
  result.measures = new_table("calibration");
  result.predictions = new_table("predictions");
  result.disagreements = new_table("disagreements");
  result.errors = new_table("prediction_errors");
  for (const Evicts evicting : {Evicts::kAtPrompt, Evicts::kWhileDecoding}) {
    const LiveRuns runs = live_runs(validate, replay, evicting);
    if (evicting == Evicts::kWhileDecoding && runs.runs.empty()) continue;
    std::vector<Disagreement> pairs;
    std::optional<Measure> looked_at;
    auto learned = calibrate_runs(runs, evicting, curves, options, result, pairs, looked_at);
    result.disagreements.append(disagreement_table(std::move(pairs), looked_at.value_or(Measure::kRetainedMass)));
    if (!learned) continue;
    if (evicting == Evicts::kAtPrompt) {
      result.chosen = info(learned->learned.measure).column;
      static_cast<CalibratedRuns&>(result.learned.emplace()) = std::move(*learned);
    } else if (result.learned) {
      result.learned->decoding = std::move(*learned);
    }
  }
  return result;
}

std::vector<RowView> overall_rows(const Table& calibration) {
  const bool has_tasks = calibration.find_column("task").has_value();
  const bool has_kinds = calibration.find_column("eviction").has_value();
  std::vector<RowView> rows;
  for (const RowView row : RowsOf(calibration)) {
    if (row.budget() != "all" || (has_tasks && row.text("task") != kAllTasks)) continue;
    if (has_kinds && !rows.empty() && rows.front().text("eviction") != row.text("eviction")) break;
    rows.push_back(row);
  }
  return rows;
}

}  // namespace evictlab::results
