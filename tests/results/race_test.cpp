#include "results/race.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <stdexcept>
#include <string>

#include "core/random.hpp"

namespace evictlab::results {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// Standard normal by Box and Muller.
double standard_normal(core::SplitMix64& random) {
  const double u = 1.0 - random.uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::acos(-1.0) * random.uniform());
}

/// Log-normal divergences: what a document adds, and what each policy does on it.
struct Divergences {
  std::vector<double> factors;  // by policy
  double of_document = 1.0;     // standard deviations of logarithms
  double of_policy = 0.5;

  std::vector<double> draw(core::SplitMix64& random) const {
    const double document = of_document * standard_normal(random);
    std::vector<double> kl;
    for (const double factor : factors) {
      kl.push_back(0.1 * factor * std::exp(document + of_policy * standard_normal(random)));
    }
    return kl;
  }
};

TEST(RelativeLead, IsTheLogarithmOfTheRatioWhereSmallAndBoundedByOne) {
  EXPECT_DOUBLE_EQ(relative_lead(1.0, 3.0), 0.8);  // (9 - 1) / (9 + 1)
  EXPECT_DOUBLE_EQ(relative_lead(3.0, 1.0), -0.8);
  EXPECT_NEAR(relative_lead(1.0, 1.01), std::log(1.01), 1e-6);
  EXPECT_LE(relative_lead(0.0, 1e300), 1.0);
}

TEST(RelativeLead, CountsDivergencesBelowTheFloorAsEqual) {
  EXPECT_EQ(relative_lead(0.0, 0.0), 0.0);
  EXPECT_EQ(relative_lead(0.0, 1e-5), 0.0);
}

/// max(K+, K-) of a mean, step by step as the paper has it.
double hedged_capital(const std::vector<double>& values, double alpha, double mean) {
  double above = 1.0;
  double below = 1.0;
  double sum = 0.0;
  double squares = 1.0;
  double variance = 1.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double t = static_cast<double>(i) + 1.0;
    const double bet = std::sqrt(2.0 * std::log(2.0 / alpha) / (variance * t * std::log(1.0 + t)));
    above *= 1.0 + std::min(bet, 0.95 / (1.0 + mean)) * (values[i] - mean);
    below *= 1.0 - std::min(bet, 0.95 / (1.0 - mean)) * (values[i] - mean);
    sum += values[i];
    squares += std::pow(values[i] - sum / (t + 1.0), 2);
    variance = squares / (t + 1.0);
  }
  return std::max(above, below);
}

TEST(ConfidenceSequence, HoldsTheMeansThatNoCapitalRefutedAtAnyTime) {
  core::SplitMix64 random(4);
  ConfidenceSequence sequence(0.1);
  std::vector<double> values;
  std::vector<bool> refuted(199, false);  // the means -.99, -.98, ..., .99
  for (int i = 0; i < 60; ++i) {
    values.push_back(std::tanh(0.4 + 0.5 * standard_normal(random)));
    sequence.add(values.back());
    const Interval interval = sequence.interval();
    for (std::size_t k = 0; k < refuted.size(); ++k) {
      const double mean = 0.01 * (static_cast<double>(k) - 99.0);
      refuted[k] = refuted[k] || hedged_capital(values, 0.1, mean) >= 2.0 / 0.1;
      if (std::min(std::abs(mean - *interval.low), std::abs(mean - *interval.high)) < 1e-6) continue;
      EXPECT_EQ(refuted[k], mean < *interval.low || mean > *interval.high) << i << " " << mean;
    }
  }
  EXPECT_GT(*sequence.interval().low, 0.0);
}

TEST(ConfidenceSequence, NeverWidens) {
  core::SplitMix64 random(1);
  ConfidenceSequence sequence(0.05);
  Interval before = sequence.interval();
  EXPECT_EQ(*before.low, -1.0);
  EXPECT_EQ(*before.high, 1.0);
  for (int i = 0; i < 100; ++i) {
    sequence.add(2.0 * random.uniform() - 1.0);
    const Interval now = sequence.interval();
    EXPECT_LE(*before.low, *now.low);
    EXPECT_LE(*now.low, *now.high);
    EXPECT_LE(*now.high, *before.high);
    before = now;
  }
  EXPECT_LT(*before.high - *before.low, 1.0);
}

TEST(ConfidenceSequence, HoldsTheMeanOfSkewedValuesAtAllTimesAsOftenAsItClaims) {
  // 1 with probability .1, else -.2: the mean is -.08.
  core::SplitMix64 random(2);
  int missed = 0;
  for (int repetition = 0; repetition < 500; ++repetition) {
    ConfidenceSequence sequence(0.1);
    for (int i = 0; i < 100; ++i) sequence.add(random.uniform() < 0.1 ? 1.0 : -0.2);
    missed += *sequence.interval().low > -0.08 || *sequence.interval().high < -0.08 ? 1 : 0;
  }
  EXPECT_LE(missed, 50 + 2 * 7);  // .1 of 500, and two standard errors: sqrt(500 * .1 * .9) = 6.7
}

TEST(ConfidenceSequence, RefusesWhatIsNoLevelAndNoValue) {
  EXPECT_THROW(ConfidenceSequence(0.0), std::invalid_argument);
  EXPECT_THROW(ConfidenceSequence(1.0), std::invalid_argument);
  ConfidenceSequence sequence(0.05);
  EXPECT_THROW(sequence.add(1.5), std::invalid_argument);
  EXPECT_THROW(sequence.add(std::nan("")), std::invalid_argument);
}

/// Whether any pair of the race is decided.
bool declares_a_difference(const Race& race) {
  return std::ranges::any_of(race.pairs(), [](const Race::Pair& pair) { return pair.decided(); });
}

TEST(Race, DeclaresADifferenceOfEqualPoliciesInAtMostOneOfTwentyRaces) {
  const Divergences equal{.factors = {1.0, 1.0, 1.0, 1.0}};
  core::SplitMix64 random(1);
  int declared = 0;
  for (int repetition = 0; repetition < 1000; ++repetition) {
    Race race(4, kRaceAlpha / 6);
    for (int document = 0; document < 48; ++document) race.add(equal.draw(random));
    declared += declares_a_difference(race) ? 1 : 0;  // ends only narrow: at any time is at the end
  }
  EXPECT_LE(declared, 50 + 2 * 7);  // .05 of 1,000, and two standard errors
}

TEST(Race, StopsEarlyWhereOnePolicyIsBetterByAFactor) {
  const Divergences apart{.factors = {1.0, 1.5, 1.5 * 1.5, 1.5 * 1.5 * 1.5}, .of_policy = 0.1};
  core::SplitMix64 random(1);
  Race race(4, kRaceAlpha / 6);
  int documents = 0;
  std::size_t runs = 0;
  while (!race.over() && documents < 48) {
    for (std::size_t policy = 0; policy < 4; ++policy) runs += race.running(policy) ? 1 : 0;
    race.add(apart.draw(random));
    ++documents;
  }
  EXPECT_TRUE(race.over());
  EXPECT_TRUE(race.running(0));
  EXPECT_LT(documents, 36);
  EXPECT_LT(runs, 4U * 48U / 2U);
}

TEST(Race, TestsNoPairOfWhichOneHasDroppedOut) {
  Race race(3, kRaceAlpha / 3);
  // The third loses a thousand times as much; the others differ by nothing.
  while (race.running(2)) race.add(std::vector{0.01, 0.01, 10.0});
  const std::size_t then = race.pairs()[1].lead.count();
  EXPECT_GT(then, 3U);
  for (int i = 0; i < 10; ++i) race.add(std::vector{0.01, 0.01, 0.0});
  EXPECT_EQ(race.pairs()[0].lead.count(), then + 10);  // first and second
  EXPECT_EQ(race.pairs()[1].lead.count(), then);       // first and third
  EXPECT_FALSE(race.over());
  EXPECT_FALSE(race.pairs()[0].decided());
  EXPECT_THROW(race.add(std::vector{0.1, 0.2}), std::invalid_argument);
}

TEST(Race, OfOnePolicyIsOverBeforeItBegins) {
  EXPECT_TRUE(Race(1, kRaceAlpha).over());
  EXPECT_TRUE(Race(0, kRaceAlpha).over());
}

/// A predictor of which means over documents have a factor of 1.2.
KlPredictor predictor(bool with_interval = true) {
  KlCalibration calibration;
  calibration.model_fingerprint = "f";
  if (with_interval) calibration.learned.mean_factors = {{1, 1.2}, {256, 1.2}};
  return {calibration, "f"};
}

/// Rows of replay.csv of twelve documents: predicted KL is that of the policy times that of the document.
struct Replayed {
  Table table{{"prompt", "document", "policy", "parameters", "role", "budget_requested", "slots_held", "layer",
               "predicted_kl", "calibration", "status"}};

  Replayed& add(const std::string& policy, double kl, const char* calibration = "learned", double slots = 64.0,
                const char* role = "method") {
    for (int i = 0; i < 12; ++i) {
      table.add_row({fmt::format("p{}", i), fmt::format("d{}", i), policy, "", role, std::int64_t{64}, slots, "all",
                     kl * (1.0 + 0.1 * i), calibration, "ok"});
    }
    return *this;
  }
};

std::vector<std::string> racing(const RaceField& field) {
  std::vector<std::string> names;
  for (const PolicyKey& key : field.racing) names.push_back(key.policy);
  return names;
}

TEST(RaceField, LeavesOutWhatTheCalibrationsIntervalsSeparateFromTheLeader) {
  // Intervals are a factor of 1.2 wide on both sides: .1 and .143 meet, .1 and .145 do not (1.44).
  Replayed replayed;
  replayed.add("far", 0.145).add("leader", 0.1).add("near", 0.143).add("random", 0.9, "learned", 64.0, "control");
  const std::vector<RaceField> fields = race_fields(replayed.table, predictor());
  ASSERT_THAT(fields, SizeIs(1));
  EXPECT_THAT(racing(fields[0]), ElementsAre("leader", "near"));
  ASSERT_THAT(fields[0].separated, SizeIs(1));
  EXPECT_EQ(fields[0].separated[0].other.policy, "far");
  EXPECT_NEAR(fields[0].separated[0].lead.mean, std::tanh(std::log(1.45)), 1e-12);
  EXPECT_NEAR(*fields[0].separated[0].lead.low, std::tanh(std::log(1.45 / 1.44)), 1e-12);
  EXPECT_DOUBLE_EQ(alpha_of_pair(fields), kRaceAlpha);
}

TEST(RaceField, SeparatesNothingThatTheCalibrationDoesNotCover) {
  Replayed replayed;
  replayed.add("leader", 0.1).add("unseen", 0.9, "extrapolated").add("unseen-and-least", 0.01, "extrapolated");
  EXPECT_THAT(racing(race_fields(replayed.table, predictor()).at(0)),
              ElementsAre("unseen-and-least", "leader", "unseen"));
}

TEST(RaceField, SeparatesNothingWithoutAnInterval) {
  Replayed replayed;
  replayed.add("leader", 0.1).add("far", 10.0);
  const RaceField field = race_fields(replayed.table, predictor(false)).at(0);
  EXPECT_THAT(racing(field), ElementsAre("leader", "far"));
  EXPECT_THAT(field.out, IsEmpty());
}

TEST(RaceField, LeavesOutWhoHoldsMoreSlotsOrCannotRun) {
  Replayed replayed;
  replayed.add("a", 0.1).add("b", 0.11).add("more", 0.01, "learned", 80.0).add("fewer", 0.12, "learned", 60.0);
  replayed.table.add_row(
      {"p0", "d0", "infeasible", "", "method", std::int64_t{64}, Cell(), "all", Cell(), "", "infeasible"});
  const RaceField field = race_fields(replayed.table, predictor()).at(0);
  EXPECT_THAT(racing(field), ElementsAre("a", "b", "fewer"));
  ASSERT_THAT(field.out, SizeIs(2));
  EXPECT_EQ(field.out[0].why, Excluded::kMoreSlots);
  EXPECT_EQ(field.out[1].why, Excluded::kCannotRun);
}

TEST(RaceField, NeedsWhatIsForetold) {
  EXPECT_THROW(race_fields(Table({"prompt", "policy", "parameters", "budget_requested", "slots_held"}), predictor()),
               TableError);
}

TEST(RaceTable, SaysWhoIsAheadAndWhatDecidedIt) {
  Replayed replayed;
  replayed.add("a", 0.1).add("b", 0.11).add("c", 0.12).add("far", 0.3);
  const std::vector<RaceField> fields = race_fields(replayed.table, predictor());
  std::vector<Race> races{Race(3, alpha_of_pair(fields))};
  for (int i = 0; i < 12 && races[0].running(0); ++i) races[0].add(std::vector{5.0, 0.01, 0.011});
  const Table table = race_table(fields, races);
  const auto column = [&](const char* name) {
    std::vector<std::string> cells;
    for (std::size_t row = 0; row < table.rows(); ++row) cells.push_back(table.text(row, table.column(name)));
    return cells;
  };
  EXPECT_THAT(column("policy"), ElementsAre("a", "b", "c", "b"));
  EXPECT_THAT(column("other_policy"), ElementsAre("far", "a", "a", "c"));
  EXPECT_THAT(column("decided_by"), ElementsAre("replay", "live", "live", "open"));
  EXPECT_THAT(column("budget_requested"), Each(std::string("64")));
  for (std::size_t row = 0; row < table.rows(); ++row) {
    const double lead = *table.number(row, table.column("lead"));
    EXPECT_LE(*table.number(row, table.column("lead_low")), lead);
    EXPECT_GE(*table.number(row, table.column("lead_high")), lead);
    EXPECT_GE(lead, 0.0);
  }
}

}  // namespace
}  // namespace evictlab::results
