#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "results/kl_map.hpp"
#include "results/live_runs.hpp"
#include "results/measures.hpp"
#include "results/statistics.hpp"

// Foretells the KL divergence that eviction causes, in nats, from the measure that foretells it best (KlMap), with an
// interval. A calibration learns all three from runs whose divergence was measured live.
//
// Documents are what repeats: prompts of one document are not independent, so all splits, folds and draws are of
// documents.
//
// Intervals are factors: the live divergence is said to lie within a factor f of what is foretold. They are
// cross-conformal (Vovk 2015, doi:10.1007/s10472-013-9368-4): the scores |log(live / foretold)| come from maps learned
// without the score's own fold of documents.
//   one prompt     the scores' quantile when every document has the same weight and one more, of an infinite score,
//                  stands for the document to come: pooled distributions of groups (Dunn, Wasserman & Ramdas 2022,
//                  doi:10.1080/01621459.2022.2060112)
//   N documents    the same quantile of |log(mean live / mean foretold)| over random sets of documents and all policies
//                  and budgets. A mean over N new documents, foretold by a map that D documents taught, errs as one
//                  over N D / (N + D) documents of known error, so sets have that size. Conformal prediction of means
//                  would need D / N sets that share no document.

namespace evictlab::results {

/// Documents of LiveRuns, by index.
using Documents = std::vector<std::size_t>;

/// Fewer policies are in order or not; fewer documents have no halves to speak of.
inline constexpr std::size_t kFewestPolicies = 3;
inline constexpr std::size_t kFewestDocuments = 4;

/// Divergences below this, in nats, count as equal: a ratio of two of them says nothing.
inline constexpr double kKlFloor = 1e-4;
/// |log(live / foretold)| of divergences in nats, with this floor under both.
double log_miss(double live, double foretold);

struct LearnOptions {
  std::uint64_t seed = 1;
  int inner_splits = 40;    // halvings by which the measure is chosen
  std::size_t folds = 8;    // of documents, for the intervals
  int draws = 200;          // of sets of documents, for the intervals of means
  double confidence = 0.9;  // of the intervals
};

/// Whether a measure is ranked beside the divergence: regret, which compares a policy with its own counts, says nothing
/// of it (Kendall's tau-b .07 on the shipped model), and what is foretold is no measure of its own.
bool is_calibrated(Measure measure);
/// Whether a calibration may map it to KL: those that is_calibrated() names, but for the worst span's mass, which
/// depends on what spans a prompt happens to name.
bool foretells(Measure measure);

/// What a calibration has learned.
struct LearnedKl {
  Measure measure = Measure::kSquaredError;
  KlMap map = {};
  double confidence = 0.9;
  std::optional<double> prompt_factor = {};  // none: too few documents for an interval
  struct MeanFactor {
    std::size_t documents = 0;
    double factor = 1.0;
  };
  std::vector<MeanFactor> mean_factors = {};  // by rising documents; none likewise

  /// The factor for a mean over so many documents, between those of mean_factors in the logarithm of their number.
  std::optional<double> mean_factor(std::size_t documents) const;
};

/// How well a measure's order of the methods on documents A is the live order on documents B, at equal held slots:
/// Kendall's tau-b, mean over budgets. Nothing where a method lacks the measure, or no budget has three methods.
std::optional<double> transfer(const LiveRuns& runs, Measure measure, const Documents& a, const Documents& b);

/// The measure of the highest mean transfer() over random halvings of these documents; ties: the first. Nothing where
/// there are fewer than two documents, or no measure is there for every run. The first measure that is there, where the
/// methods are too few to be put in order.
std::optional<Measure> choose_measure(const LiveRuns& runs, const Documents& documents, const LearnOptions& options);

/// The map of a measure, from runs of methods and controls on these documents; every document has the same weight.
/// `without`: a policy that is left out. Nothing where fit_kl_map() finds none.
std::optional<KlMap> learn_map(const LiveRuns& runs, Measure measure, const Documents& documents,
                               std::optional<std::size_t> without = {});

/// Chooses the measure, learns the map and the intervals from these documents. Nothing where there is no map.
std::optional<LearnedKl> learn_kl(const LiveRuns& runs, const Documents& documents, const LearnOptions& options = {});

/// All documents of the runs.
Documents every_document(const LiveRuns& runs);
/// Two random halves of the documents, the second no smaller.
std::pair<Documents, Documents> random_halves(const Documents& documents, std::uint64_t seed);

/// A range of what a calibration has seen.
struct Covered {
  double least = 0.0;
  double most = 0.0;
  bool contains(double value) const { return least <= value && value <= most; }
};

/// What one stretch of the answer loses, query by query, is less even than what all of it loses: its KL has a map of
/// its own, and factors that widen with the distance from the prompt.
struct KlCurve {
  Measure measure = Measure::kSquaredError;
  KlMap map = {};
  struct Stretch {
    std::int64_t last = 1;  // step, from 1: those after the stretch before, up to this one (curve_steps.hpp)
    std::optional<double> factor = {};  // of one prompt; none: too few documents. Never falls with the distance
  };
  std::vector<Stretch> stretches = {};  // by rising steps

  /// The factor for steps up to this one; that of the last stretch beyond it.
  std::optional<double> factor(std::int64_t last) const;
  bool covers(std::int64_t last) const { return !stretches.empty() && last <= stretches.back().last; }
};

/// What runs that evict at the same time have taught.
struct CalibratedRuns {
  LearnedKl learned = {};
  std::optional<KlCurve> curve = {};
  // What they have seen: outside of it, predictions are extrapolations.
  Covered prompt_length = {};              // positions
  Covered future_length = {0.0, 1e30};     // answer tokens read: future queries
  Covered slots = {};                      // held after the prompt
  Covered share = {};                      // of the prompt's positions, those held
  std::vector<std::string> policies = {};  // by name
  std::vector<std::string> budgets = {};   // as asked for
  std::vector<std::string> tasks = {};
  std::size_t prompts = 0;
  std::size_t documents = 0;
  // How well it did on documents that it had not seen (results/prediction_errors.hpp); none: too few documents.
  std::optional<double> median_factor = {};       // by which means over documents miss
  std::optional<double> nine_of_ten_factor = {};  // the 90th percentile
  std::optional<double> coverage = {};            // share of means within their interval
};

/// A calibration as its file has it: what evictions at the end of the prompt have taught and, where there were any,
/// those that go on while the answer is decoded.
struct KlCalibration : CalibratedRuns {
  std::string model = {};
  std::string model_fingerprint = {};
  std::int64_t window = 0;  // observation window, positions
  std::optional<CalibratedRuns> decoding = {};
  /// By which means over prompts missed, nine of ten, on models that had taught nothing; none: not known.
  std::optional<double> other_model_factor = {};
};

/// Whether a measure means the same on every model, so that a calibration may foretell another model's runs by it.
bool is_unit_free(Measure measure);

/// Learns from all documents. Nothing where learn_kl() has nothing.
std::optional<CalibratedRuns> learn_calibration(const LiveRuns& runs, const LearnOptions& options = {});

/// Learns a curve; the cells of `runs` are stretches, whose last steps these are, whatever the policy and budget.
/// Nothing where learn_map() has nothing.
std::optional<KlCurve> learn_curve(const LiveRuns& runs, Measure measure, std::span<const std::int64_t> last_steps,
                                   const LearnOptions& options = {});

/// What a prediction rests on: the column `calibration`.
enum class Calibrated {
  kLearned,       // on this model, within what the calibration covers
  kDecode,        // likewise, of runs that evict while they decode, by what such runs taught
  kExtrapolated,  // outside of it: other lengths, budgets or policies
  kDefault        // on another model, by a measure without unit
};
std::string_view calibrated_name(Calibrated calibrated);

/// A run to foretell.
struct PredictedRun {
  std::string_view policy = {};
  std::string_view parameters = {};
  double prompt_length = 0.0;
  double future_length = 0.0;
  double slots = 0.0;  // held after the prompt
  std::array<std::optional<double>, kMeasureCount> measures = {};
};

/// The divergence foretold, in nats. Nothing lost: 0 with an interval of 0.
struct PredictedKl {
  double kl = 0.0;
  std::optional<double> low = {};
  std::optional<double> high = {};
  Calibrated calibrated = Calibrated::kLearned;
};

/// Foretells runs on one model by a calibration.
class KlPredictor {
 public:
  /// Throws core::InputError when the calibration is of another model and its measure is not unit-free.
  KlPredictor(KlCalibration calibration, const std::string& model_fingerprint);

  /// Nothing where the run lacks the measure, or it is beyond what numbers can say.
  std::optional<PredictedKl> operator()(const PredictedRun& run) const;
  /// The mean divergence over a stretch of the answer that ends with step `last`; `run` has that stretch's measures.
  /// Nothing likewise, or where no curve was learned.
  std::optional<PredictedKl> at_steps(const PredictedRun& run, std::int64_t last) const;
  /// A mean over runs of a policy at a budget, one a prompt, of so many documents.
  Interval mean(const PolicyKey& policy, std::span<const double> predicted, std::size_t documents) const;
  const KlCalibration& calibration() const { return calibration_; }
  /// What runs of this kind are foretold by: what evictions at the prompt taught, where nothing else did.
  const CalibratedRuns& runs_like(std::string_view parameters) const;

 private:
  bool covers(const CalibratedRuns& runs, const PredictedRun& run) const;
  /// The rest of a prediction.
  PredictedKl completed(double kl, double lost, bool covered, std::optional<double> factor,
                        std::string_view parameters) const;

  KlCalibration calibration_;
  bool other_model_;
};

}  // namespace evictlab::results
