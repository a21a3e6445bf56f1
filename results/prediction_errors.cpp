#include "results/prediction_errors.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "core/parallel.hpp"
#include "results/schema.hpp"

namespace evictlab::results {
namespace {

/// What is foretold; the rows of the table.
enum Kind : std::size_t { kPromptRuns, kPromptCeilings, kMeans, kMeanCeilings, kMeansOfUnseen, kKinds };

struct KindWords {
  std::string_view level, runs;
};
constexpr std::array<KindWords, kKinds> kWords = {{{"prompt", "methods and controls"},
                                                   {"prompt", "ceilings"},
                                                   {"mean", "methods and controls"},
                                                   {"mean", "ceilings"},
                                                   {"mean", "policies left out"}}};

/// One halving's errors of a kind.
struct Errors {
  std::vector<double> misses;  // log_miss()
  double within = 0.0;         // their intervals
  std::size_t judged = 0;      // those that have one

  void add(double live, double foretold, std::optional<double> factor) {
    misses.push_back(log_miss(live, foretold));
    if (!factor) return;
    ++judged;
    if (misses.back() <= std::log(*factor) + 1e-12) within += 1.0;
  }
};
using SplitErrors = std::array<Errors, kKinds>;

/// Means of a cell over held-out documents.
struct CellOfHalf {
  double live = 0.0;
  double foretold = 0.0;
  double count = 0.0;
};

SplitErrors errors_of_split(const LiveRuns& runs, const Documents& seen, const Documents& held_out,
                            const LearnOptions& options) {
  SplitErrors errors;
  const auto learned = learn_kl(runs, seen, options);
  if (!learned) return errors;
  const std::size_t measure = index_of(learned->measure);
  std::map<std::size_t, std::optional<KlMap>> without;             // by policy left out
  std::map<std::size_t, std::pair<CellOfHalf, CellOfHalf>> cells;  // with all policies, without its own
  std::vector<bool> is_held_out(runs.documents.size(), false);
  for (const std::size_t document : held_out) is_held_out[document] = true;
  std::map<std::size_t, Role> roles;
  for (const LiveRun& run : runs.runs) {
    if (!is_held_out[run.document] || !run.lost[measure]) continue;
    const double foretold = learned->map(*run.lost[measure]);
    const bool is_ceiling = run.role == Role::kCeiling;
    roles[run.cell] = run.role;
    errors[is_ceiling ? kPromptCeilings : kPromptRuns].add(run.kl, foretold, learned->prompt_factor);
    auto& [whole, unseen] = cells[run.cell];
    whole.live += run.kl;
    whole.foretold += foretold;
    whole.count += 1.0;
    if (is_ceiling) continue;
    const auto [map, is_new] = without.try_emplace(run.policy);
    if (is_new) map->second = learn_map(runs, learned->measure, seen, run.policy);
    if (!map->second) continue;
    unseen.live += run.kl;
    unseen.foretold += (*map->second)(*run.lost[measure]);
    unseen.count += 1.0;
  }
  const auto factor = learned->mean_factor(held_out.size());
  const auto add = [&](Kind kind, const CellOfHalf& cell) {
    if (cell.count > 0.0) errors[kind].add(cell.live / cell.count, cell.foretold / cell.count, factor);
  };
  for (const auto& [cell, means] : cells) {
    add(roles.at(cell) == Role::kCeiling ? kMeanCeilings : kMeans, means.first);
    add(kMeansOfUnseen, means.second);
  }
  return errors;
}

/// The mean over halvings, and how far it differs between them.
Interval over_splits(const std::vector<double>& values, double confidence) {
  return {.mean = mean(values),
          .low = quantile(values, 0.5 * (1.0 - confidence)),
          .high = quantile(values, 0.5 * (1.0 + confidence))};
}

}  // namespace

PredictionErrors prediction_errors(const LiveRuns& runs, Evicts evicting, const ErrorOptions& options) {
  PredictionErrors result;
  result.table = new_table("prediction_errors");
  if (runs.documents.size() < kFewestDocuments) return result;
  std::vector<SplitErrors> splits(static_cast<std::size_t>(options.splits));
  core::parallel_for(splits.size(), [&](std::size_t i) {
    const auto [seen, held_out] = random_halves(every_document(runs), options.learn.seed + i);
    splits[i] = errors_of_split(runs, seen, held_out, options.learn);
  });
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    std::vector<double> medians, nine_of_ten, coverage;
    for (const SplitErrors& split : splits) {
      const Errors& own = split[kind];
      if (own.misses.empty()) continue;
      medians.push_back(std::exp(quantile(own.misses, 0.5)));
      nine_of_ten.push_back(std::exp(quantile(own.misses, 0.9)));
      if (own.judged > 0) coverage.push_back(own.within / static_cast<double>(own.judged));
    }
    if (medians.empty()) continue;
    Row row(result.table);
    row.set("eviction", evicts_name(evicting))
        .set("level", kWords[kind].level)
        .set("runs", kWords[kind].runs)
        .set("documents", runs.documents.size())
        .set("splits", medians.size());
    set_interval(row, "median_factor", over_splits(medians, options.confidence));
    set_interval(row, "nine_of_ten_factor", over_splits(nine_of_ten, options.confidence));
    if (!coverage.empty()) set_interval(row, "coverage", over_splits(coverage, options.confidence));
    result.table.add_row(std::move(row));
    if (kind != kMeans) continue;
    result.median_factor = mean(medians);
    result.nine_of_ten_factor = mean(nine_of_ten);
    if (!coverage.empty()) result.coverage = mean(coverage);
  }
  return result;
}

}  // namespace evictlab::results
