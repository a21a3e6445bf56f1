#include "results/prediction.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <tuple>
#include <utility>

#include "core/error.hpp"
#include "core/random.hpp"
#include "results/evicts.hpp"
#include "results/rank_correlation.hpp"

namespace evictlab::results {
namespace {

/// Means over how many documents have a factor of their own.
constexpr std::size_t kMeansOver[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};

std::vector<bool> is_among(const Documents& documents, std::size_t count) {
  std::vector<bool> among(count, false);
  for (const std::size_t document : documents) among[document] = true;
  return among;
}

std::optional<double> value_of(const LiveRun& run, Measure measure) { return run.lost[index_of(measure)]; }

/// The mean over the prompts of these documents.
double mean_among(const std::vector<double>& values, const std::vector<bool>& among, const LiveRuns& runs) {
  double sum = 0.0;
  double count = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!among[runs.ranked_documents[i]]) continue;
    sum += values[i];
    count += 1.0;
  }
  return sum / count;
}

/// The quantile at `level` of scores with weights; nothing where the weights do not come to it.
std::optional<double> weighted_quantile(std::vector<std::pair<double, double>> scores, double level) {
  std::ranges::sort(scores);
  double sum = 0.0;
  for (const auto& [score, weight] : scores) {
    sum += weight;
    if (sum >= level - 1e-12) return score;
  }
  return std::nullopt;
}

/// Runs of methods and controls with what maps foretell that did not see their document.
struct HeldOut {
  const LiveRun* run;
  double foretold;
};

/// Empty where a fold has no map.
std::vector<HeldOut> cross_fitted(const LiveRuns& runs, Measure measure, const Documents& documents,
                                  std::size_t most_folds) {
  const std::size_t folds = std::min(most_folds, documents.size());
  std::vector<HeldOut> all;
  for (std::size_t fold = 0; fold < folds && folds > 1; ++fold) {
    Documents seen, held_out;
    for (std::size_t i = 0; i < documents.size(); ++i) (i % folds == fold ? held_out : seen).push_back(documents[i]);
    const auto map = learn_map(runs, measure, seen);
    if (!map) return {};
    const std::vector<bool> among = is_among(held_out, runs.documents.size());
    for (const LiveRun& run : runs.runs) {
      if (run.role == Role::kCeiling || !among[run.document]) continue;
      if (const auto lost = value_of(run, measure)) all.push_back({&run, (*map)(*lost)});
    }
  }
  return all;
}

std::optional<double> factor_of_prompts(const std::vector<HeldOut>& runs, std::size_t documents, double confidence) {
  std::map<std::size_t, std::size_t> sizes;
  for (const HeldOut& one : runs) ++sizes[one.run->document];
  std::vector<std::pair<double, double>> scores;
  for (const HeldOut& one : runs) {
    const double weight = 1.0 / static_cast<double>(sizes.at(one.run->document) * (documents + 1));
    scores.emplace_back(log_miss(one.run->kl, one.foretold), weight);
  }
  const auto score = weighted_quantile(std::move(scores), confidence);
  return score ? std::optional(std::exp(*score)) : std::nullopt;
}

/// Sums of one cell on one document.
struct CellSums {
  double live = 0.0;
  double foretold = 0.0;
  double count = 0.0;
};

std::vector<LearnedKl::MeanFactor> factors_of_means(const std::vector<HeldOut>& runs, std::size_t cells,
                                                    const Documents& documents, const LearnOptions& options) {
  const std::size_t known = documents.size();
  const double level = options.confidence * static_cast<double>(known + 1) / static_cast<double>(known);
  if (level > 1.0) return {};
  std::map<std::size_t, std::size_t> places;
  for (std::size_t i = 0; i < known; ++i) places[documents[i]] = i;
  std::vector<std::vector<CellSums>> sums(known, std::vector<CellSums>(cells));
  for (const HeldOut& one : runs) {
    CellSums& own = sums[places.at(one.run->document)][one.run->cell];
    own.live += one.run->kl;
    own.foretold += one.foretold;
    own.count += 1.0;
  }
  std::vector<LearnedKl::MeanFactor> factors;
  core::SplitMix64 random(options.seed);
  for (const std::size_t over : kMeansOver) {
    const double effective = static_cast<double>(over * known) / static_cast<double>(over + known);
    const std::size_t size = std::max<std::size_t>(1, static_cast<std::size_t>(std::lround(effective)));
    std::vector<double> scores;
    for (int draw = 0; draw < options.draws; ++draw) {
      std::vector<std::size_t> order(known);
      std::iota(order.begin(), order.end(), std::size_t{0});
      std::vector<CellSums> drawn(cells);
      for (std::size_t i = 0; i < size; ++i) {
        const auto other = i + static_cast<std::size_t>(random.uniform() * static_cast<double>(known - i));
        std::swap(order[i], order[other]);
        for (std::size_t cell = 0; cell < cells; ++cell) {
          const CellSums& own = sums[order[i]][cell];
          drawn[cell].live += own.live;
          drawn[cell].foretold += own.foretold;
          drawn[cell].count += own.count;
        }
      }
      for (const CellSums& cell : drawn) {
        if (cell.count > 0.0) scores.push_back(log_miss(cell.live / cell.count, cell.foretold / cell.count));
      }
    }
    if (scores.empty()) return {};
    factors.push_back({over, std::exp(quantile(scores, level))});
  }
  return factors;
}

/// The ends of what lies within a factor of `kl`, as log_miss() measures it.
std::pair<double, double> ends_within(double kl, double factor) {
  const double low = std::max(kl, kKlFloor) / factor;
  return {low <= kKlFloor ? 0.0 : low, std::max(kl, kKlFloor) * factor};
}

template <typename Value>
Covered range_of(const LiveRuns& runs, const Value& value) {
  Covered covered{value(runs.runs.front()), value(runs.runs.front())};
  for (const LiveRun& run : runs.runs) {
    covered.least = std::min(covered.least, value(run));
    covered.most = std::max(covered.most, value(run));
  }
  return covered;
}

}  // namespace

double log_miss(double live, double foretold) {
  return std::abs(std::log(std::max(live, kKlFloor) / std::max(foretold, kKlFloor)));
}

bool is_calibrated(Measure measure) { return measure != Measure::kRegret && measure != Measure::kPredictedKl; }

bool foretells(Measure measure) { return is_calibrated(measure) && measure != Measure::kWorstSpanMass; }

std::optional<double> LearnedKl::mean_factor(std::size_t documents) const {
  if (mean_factors.empty()) return std::nullopt;
  const auto above =
      std::ranges::find_if(mean_factors, [&](const MeanFactor& one) { return one.documents >= documents; });
  if (above == mean_factors.end()) return mean_factors.back().factor;
  if (above == mean_factors.begin() || above->documents == documents) return above->factor;
  const MeanFactor& below = *std::prev(above);
  const auto log_of = [](std::size_t count) { return std::log(static_cast<double>(count)); };
  const double share =
      (log_of(documents) - log_of(below.documents)) / (log_of(above->documents) - log_of(below.documents));
  return below.factor + share * (above->factor - below.factor);
}

std::optional<double> transfer(const LiveRuns& runs, Measure measure, const Documents& a, const Documents& b) {
  const std::vector<bool> in_a = is_among(a, runs.documents.size());
  const std::vector<bool> in_b = is_among(b, runs.documents.size());
  double sum = 0.0;
  std::size_t count = 0;
  for (const RankedBudget& budget : runs.ranked.budgets) {
    if (budget.policies.size() < kFewestPolicies) continue;
    if (!budget.has(measure)) return std::nullopt;
    std::vector<double> foretold, live;
    for (const RankedPolicy& policy : budget.policies) {
      foretold.push_back(mean_among(*policy.measures[index_of(measure)], in_a, runs));
      live.push_back(mean_among(policy.kl, in_b, runs));
    }
    sum += kendall_tau_b(foretold, live);
    ++count;
  }
  return count > 0 ? std::optional(sum / static_cast<double>(count)) : std::nullopt;
}

std::optional<Measure> choose_measure(const LiveRuns& runs, const Documents& documents, const LearnOptions& options) {
  if (documents.size() < 2) return std::nullopt;
  const std::vector<bool> among = is_among(documents, runs.documents.size());
  std::vector<Measure> candidates;
  for (const MeasureInfo& measure : measures()) {
    const bool everywhere = std::ranges::all_of(runs.runs, [&](const LiveRun& run) {
      return run.role == Role::kCeiling || !among[run.document] || value_of(run, measure.id);
    });
    if (foretells(measure.id) && everywhere) candidates.push_back(measure.id);
  }
  std::optional<Measure> best;
  double best_sum = 0.0;
  for (const Measure measure : candidates) {
    double sum = 0.0;
    for (int split = 0; split < options.inner_splits; ++split) {
      const auto [a, b] = random_halves(documents, options.seed + static_cast<std::uint64_t>(split));
      sum += transfer(runs, measure, a, b).value_or(0.0);
    }
    if (best && sum <= best_sum) continue;
    best = measure;
    best_sum = sum;
  }
  return best;
}

std::optional<KlMap> learn_map(const LiveRuns& runs, Measure measure, const Documents& documents,
                               std::optional<std::size_t> without) {
  const std::vector<bool> among = is_among(documents, runs.documents.size());
  std::vector<double> lost, kl, weights;
  std::vector<std::size_t> of, sizes(runs.documents.size(), 0);
  for (const LiveRun& run : runs.runs) {
    if (run.role == Role::kCeiling || !among[run.document] || run.policy == without) continue;
    const auto value = value_of(run, measure);
    if (!value) continue;
    lost.push_back(*value);
    kl.push_back(run.kl);
    of.push_back(run.document);
    ++sizes[run.document];
  }
  for (const std::size_t document : of) weights.push_back(1.0 / static_cast<double>(sizes[document]));
  return fit_kl_map(lost, kl, weights);
}

std::optional<LearnedKl> learn_kl(const LiveRuns& runs, const Documents& documents, const LearnOptions& options) {
  const auto measure = choose_measure(runs, documents, options);
  if (!measure) return std::nullopt;
  const auto map = learn_map(runs, *measure, documents);
  if (!map) return std::nullopt;
  LearnedKl learned{.measure = *measure, .map = *map, .confidence = options.confidence};
  const std::vector<HeldOut> held_out = cross_fitted(runs, *measure, documents, options.folds);
  if (held_out.empty()) return learned;
  learned.prompt_factor = factor_of_prompts(held_out, documents.size(), options.confidence);
  learned.mean_factors = factors_of_means(held_out, runs.cells.size(), documents, options);
  return learned;
}

Documents every_document(const LiveRuns& runs) {
  Documents all(runs.documents.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  return all;
}

std::pair<Documents, Documents> random_halves(const Documents& documents, std::uint64_t seed) {
  core::SplitMix64 random(core::SplitMix64::mix(seed));
  Documents order = documents;
  shuffle(order, random);
  const auto middle = order.begin() + static_cast<std::ptrdiff_t>(order.size() / 2);
  std::pair<Documents, Documents> halves{{order.begin(), middle}, {middle, order.end()}};
  std::ranges::sort(halves.first);
  std::ranges::sort(halves.second);
  return halves;
}

std::optional<CalibratedRuns> learn_calibration(const LiveRuns& runs, const LearnOptions& options) {
  if (runs.runs.empty()) return std::nullopt;
  const auto learned = learn_kl(runs, every_document(runs), options);
  if (!learned) return std::nullopt;
  CalibratedRuns calibration{
      .learned = *learned,
      .prompt_length = range_of(runs, [](const LiveRun& run) { return run.prompt_length; }),
      .future_length = range_of(runs, [](const LiveRun& run) { return run.future_length; }),
      .slots = range_of(runs, [](const LiveRun& run) { return run.slots; }),
      .share = range_of(
          runs, [](const LiveRun& run) { return run.prompt_length > 0.0 ? run.slots / run.prompt_length : 0.0; }),
      .tasks = runs.tasks,
      .prompts = runs.prompts,
      .documents = runs.documents.size()};
  std::set<std::string> policies;
  for (const PolicyKey& policy : runs.policies) policies.insert(policy.policy);
  calibration.policies.assign(policies.begin(), policies.end());
  for (const LiveRuns::PolicyAtBudget& cell : runs.cells) {
    if (std::ranges::find(calibration.budgets, cell.budget) == calibration.budgets.end()) {
      calibration.budgets.push_back(cell.budget);
    }
  }
  return calibration;
}

std::optional<double> KlCurve::factor(std::int64_t last) const {
  if (stretches.empty()) return std::nullopt;
  for (const Stretch& stretch : stretches) {
    if (last <= stretch.last) return stretch.factor;
  }
  return stretches.back().factor;
}

std::optional<KlCurve> learn_curve(const LiveRuns& runs, Measure measure, std::span<const std::int64_t> last_steps,
                                   const LearnOptions& options) {
  const Documents documents = every_document(runs);
  const auto map = learn_map(runs, measure, documents);
  if (!map) return std::nullopt;
  KlCurve curve{.measure = measure, .map = *map};
  const std::vector<HeldOut> held_out = cross_fitted(runs, measure, documents, options.folds);
  std::optional<double> widest;
  for (std::size_t cell = 0; cell < last_steps.size(); ++cell) {
    std::vector<HeldOut> own;
    std::set<std::size_t> seen;
    for (const HeldOut& one : held_out) {
      if (one.run->cell != cell) continue;
      own.push_back(one);
      seen.insert(one.run->document);
    }
    // Answers differ in length: far from the prompt there are fewer documents, and where they are too few the factor of
    // the stretch before would be a guess.
    const auto factor = own.empty() ? std::nullopt : factor_of_prompts(own, seen.size(), options.confidence);
    if (!factor && cell > 0) break;
    if (factor) widest = std::max(widest.value_or(1.0), *factor);
    curve.stretches.push_back({last_steps[cell], widest});
  }
  return curve;
}

std::string_view calibrated_name(Calibrated calibrated) {
  switch (calibrated) {
    case Calibrated::kDecode:
      return "decode";
    case Calibrated::kExtrapolated:
      return "extrapolated";
    case Calibrated::kDefault:
      return "default";
    case Calibrated::kLearned:
      break;
  }
  return "learned";
}

bool is_unit_free(Measure measure) {
  return measure == Measure::kRelativeSquaredError || measure == Measure::kTailLoss;
}

KlPredictor::KlPredictor(KlCalibration calibration, const std::string& model_fingerprint)
    : calibration_(std::move(calibration)), other_model_(calibration_.model_fingerprint != model_fingerprint) {
  if (!other_model_) return;
  const auto check = [&](const CalibratedRuns& runs) {
    const Measure measure = runs.learned.measure;
    if (is_unit_free(measure)) return;
    throw core::InputError(
        "the calibration is of model {} ({}) and maps {}, which means something else on a model of fingerprint {}; "
        "learn one with evictlab validate on this model",
        calibration_.model, calibration_.model_fingerprint, info(measure).column, model_fingerprint);
  };
  check(calibration_);
  if (calibration_.decoding) check(*calibration_.decoding);
}

const CalibratedRuns& KlPredictor::runs_like(std::string_view parameters) const {
  if (evicts(parameters) == Evicts::kWhileDecoding && calibration_.decoding) return *calibration_.decoding;
  return calibration_;
}

bool KlPredictor::covers(const CalibratedRuns& runs, const PredictedRun& run) const {
  const double share = run.prompt_length > 0.0 ? run.slots / run.prompt_length : 0.0;
  const Evicts kind = &runs == &calibration_ ? Evicts::kAtPrompt : Evicts::kWhileDecoding;
  return evicts(run.parameters) == kind && runs.prompt_length.contains(run.prompt_length) &&
         runs.future_length.contains(run.future_length) && runs.slots.contains(run.slots) &&
         runs.share.contains(share) && std::ranges::find(runs.policies, run.policy) != runs.policies.end();
}

PredictedKl KlPredictor::completed(double kl, double lost, bool covered, std::optional<double> factor,
                                   std::string_view parameters) const {
  PredictedKl predicted{.kl = kl};
  if (other_model_) {
    predicted.calibrated = Calibrated::kDefault;
  } else if (!covered && lost > 0.0) {
    predicted.calibrated = Calibrated::kExtrapolated;
  } else if (evicts(parameters) == Evicts::kWhileDecoding) {
    predicted.calibrated = Calibrated::kDecode;
  }
  if (!(lost > 0.0)) {
    predicted.low = predicted.high = 0.0;
  } else if (factor && !other_model_) {
    std::tie(predicted.low, predicted.high) = ends_within(kl, *factor);
  }
  return predicted;
}

std::optional<PredictedKl> KlPredictor::operator()(const PredictedRun& run) const {
  const CalibratedRuns& runs = runs_like(run.parameters);
  const LearnedKl& learned = runs.learned;
  const auto value = run.measures[index_of(learned.measure)];
  if (!value) return std::nullopt;
  const double lost = amount_lost(learned.measure, *value);
  const double kl = learned.map(lost);
  if (!std::isfinite(kl * learned.prompt_factor.value_or(1.0))) return std::nullopt;
  return completed(kl, lost, covers(runs, run), learned.prompt_factor, run.parameters);
}

std::optional<PredictedKl> KlPredictor::at_steps(const PredictedRun& run, std::int64_t last) const {
  const CalibratedRuns& runs = runs_like(run.parameters);
  if (!runs.curve) return std::nullopt;
  const KlCurve& curve = *runs.curve;
  const auto value = run.measures[index_of(curve.measure)];
  if (!value) return std::nullopt;
  const double lost = amount_lost(curve.measure, *value);
  const double kl = curve.map(lost);
  const auto factor = curve.factor(last);
  if (!std::isfinite(kl * factor.value_or(1.0))) return std::nullopt;
  return completed(kl, lost, covers(runs, run) && curve.covers(last), factor, run.parameters);
}

Interval KlPredictor::mean(const PolicyKey& policy, std::span<const double> predicted, std::size_t documents) const {
  Interval interval{.mean = results::mean(predicted)};
  const auto factor =
      other_model_ ? calibration_.other_model_factor : runs_like(policy.parameters).learned.mean_factor(documents);
  if (!(interval.mean > 0.0)) {
    interval.low = interval.high = 0.0;
  } else if (factor) {
    std::tie(interval.low, interval.high) = ends_within(interval.mean, *factor);
  }
  return interval;
}

}  // namespace evictlab::results
