#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "results/equal_slots.hpp"
#include "results/prediction.hpp"
#include "results/run_table.hpp"
#include "results/table.hpp"

// Races: which of the policies that replay cannot separate has the lower KL divergence live, by as few live runs as it
// takes. All pairs of policies at a budget are tested after every document, which no interval for a fixed number of
// documents allows; confidence sequences do.

namespace evictlab::results {

/// How much less policy a loses on a document than policy b, from their live KL divergences in nats:
///
///   (b^2 - a^2) / (a^2 + b^2) = tanh(ln(b / a))        in [-1, 1], positive where a loses less
///
/// which is the logarithm of their ratio where that is small, and saturates: a factor of 1.5 is .38, one of 3 is .8.
/// Bounded whatever the divergences are, without a cap. Both below kKlFloor: 0.
double relative_lead(double a, double b);

/// A time-uniform confidence sequence for the mean of values in [-1, 1]: at confidence 1 - alpha the mean lies within
/// the interval after every value, however many there will be and whenever one stops. By betting against every mean m
/// (Waudby-Smith & Ramdas 2024, arXiv:2010.09686, Theorem 3, hedged capital process, here for values x in [-1, 1]):
///
///   K+_t(m) = prod_{i <= t} (1 + min(l_i, c / (1 + m)) (x_i - m))
///   K-_t(m) = prod_{i <= t} (1 - min(l_i, c / (1 - m)) (x_i - m))
///   C_t     = {m : max(K+_t(m), K-_t(m)) < 2 / alpha}
///   l_t     = sqrt(2 ln(2 / alpha) / (v_{t-1} t ln(1 + t)))       with v_t = (1 + sum_{i <= t} (x_i - u_i)^2) / (t +
///   1)
///                                                                  and u_t = (sum_{i <= t} x_i) / (t + 1)
///
/// C_t is an interval; what interval() has is the intersection of C_1 ... C_t, as wide as [-1, 1] or narrower.
/// Deviation: c = .95 (there 1/2 or 3/4), for the few documents that there are.
class ConfidenceSequence {
 public:
  /// Throws std::invalid_argument unless 0 < alpha < 1.
  explicit ConfidenceSequence(double alpha);
  /// Throws std::invalid_argument unless -1 <= value <= 1.
  void add(double value);
  std::size_t count() const { return values_.size(); }
  /// The values' mean (0 of none), and the ends.
  Interval interval() const;

 private:
  double log_capital(double mean, bool above) const;
  double end(bool lower) const;  // of the intersection

  double alpha_;
  std::vector<double> values_ = {};
  std::vector<double> bets_ = {};  // l_i
  double sum_ = 0.0;
  double squares_ = 0.0;  // sum (x_i - u_i)^2
  double low_ = -1.0;
  double high_ = 1.0;
};

/// The policies at one budget that race, by index.
class Race {
 public:
  struct Pair {
    std::size_t first = 0;
    std::size_t second = 0;
    ConfidenceSequence lead;  // relative_lead() of the first over the second, by document
    /// Whether one of the two is found to lose less.
    bool decided() const { return *lead.interval().low > 0.0 || *lead.interval().high < 0.0; }
  };

  /// `alpha`: of one pair.
  Race(std::size_t policies, double alpha);
  /// One document's divergences by policy, in nats: of those that are running all. Then every policy that another one
  /// is found to beat drops out. Pairs of which one has dropped out are not tested any more. Throws
  /// std::invalid_argument for another number of policies.
  void add(std::span<const double> kl);
  bool running(std::size_t policy) const { return running_[policy]; }
  bool over() const;
  const std::vector<Pair>& pairs() const { return pairs_; }

 private:
  std::vector<bool> running_;
  std::vector<Pair> pairs_;
};

inline constexpr double kRaceAlpha = 0.05;  // of all pairs at all budgets together

/// Why a method does not race.
enum class Excluded { kCannotRun, kMoreSlots, kPredictedWorse };

/// What replay says of a budget's methods.
struct RaceField {
  std::string budget = {};
  std::vector<PolicyKey> racing = {};  // by rising predicted KL
  struct Out {
    PolicyKey key;
    Excluded why = Excluded::kCannotRun;
  };
  std::vector<Out> out = {};
  /// Of a method out by replay: its leader's relative_lead(), of means over documents. The ends are those of the
  /// calibration's intervals: the least and the largest of what may be.
  struct Separated {
    PolicyKey leader;
    PolicyKey other;
    Interval lead;
  };
  std::vector<Separated> separated = {};
  std::size_t documents = 0;
};

/// Which methods race at each budget, from replay.csv with predicted_kl (foretold()). Out are: methods that cannot run
/// on every prompt or hold more slots than those that the budget compares (SlotCurves), and methods whose predicted KL
/// replay separates from the leader's. That takes both of
///   the calibration's intervals of the two means over documents do not meet (KlPredictor::mean()),
///   the difference of the two over documents, paired, has a 95 % bootstrap interval above 0.
/// The leader is the method of the least predicted KL among those that the calibration covers on every prompt. It
/// separates nothing that it does not cover, and nothing at all where it has no interval. Controls and ceilings do not
/// race. Throws TableError when a column is missing.
std::vector<RaceField> race_fields(const Table& replay, const KlPredictor& predictor);

/// The share of kRaceAlpha of one pair; kRaceAlpha where no pair races.
double alpha_of_pair(const std::vector<RaceField>& fields);

/// The table `race`: pairs that replay separates, then pairs that raced, budget by budget. `races`: by field.
Table race_table(const std::vector<RaceField>& fields, const std::vector<Race>& races);

}  // namespace evictlab::results
