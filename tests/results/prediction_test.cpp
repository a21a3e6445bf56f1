#include "results/prediction.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <set>
#include <string>

#include "core/random.hpp"
#include "results/calibration.hpp"
#include "results/calibration_file.hpp"
#include "results/prediction_errors.hpp"

namespace evictlab::results {
namespace {

/// Standard normal by Box and Muller.
double normal(core::SplitMix64& random) {
  const double u = 1.0 - random.uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::acos(-1.0) * random.uniform());
}

/// What simulated tables are made of: live KL = 2 m^0.8 exp(document + noise), m = squared error.
struct Simulated {
  int documents = 24;
  int policies = 8;
  int prompts_of_a_document = 1;
  double document_spread = 0.3;
  double noise = 0.3;
  std::uint64_t seed = 1;
  double scale = 2.0;
  std::string parameters = {};
};

struct SimulatedTables {
  Table validate{{"prompt", "task", "document", "prompt_length", "turn", "policy", "parameters", "role",
                  "budget_requested", "slots_held", "kl", "status"}};
  Table replay{{"prompt", "task", "document", "policy", "parameters", "role", "budget_requested", "slots_held", "layer",
                "retained_mass", "squared_error", "regret", "status"}};

  void add(const SimulatedTables& more) {
    validate.append(more.validate);
    replay.append(more.replay);
  }
};

SimulatedTables simulated(const Simulated& made) {
  SimulatedTables tables;
  core::SplitMix64 random(made.seed);
  for (int document = 0; document < made.documents; ++document) {
    const double of_document = made.document_spread * normal(random);
    for (int prompt = 0; prompt < made.prompts_of_a_document; ++prompt) {
      const std::string id = fmt::format("p{}-{}", document, prompt);
      const std::string text = fmt::format("d{}", document);
      const auto add = [&](const std::string& policy, const char* role, int budget, double squared, double kl) {
        tables.validate.add_row({id, "t", text, std::int64_t{1000}, std::int64_t{1}, policy, made.parameters, role,
                                 std::int64_t{budget}, double(budget), kl, "ok"});
        tables.replay.add_row({id, "t", text, policy, made.parameters, role, std::int64_t{budget}, double(budget),
                               "all", 1.0 - 0.5 * random.uniform(), squared, 0.1, "ok"});
      };
      for (const int budget : {64, 256}) {
        for (int policy = 0; policy < made.policies; ++policy) {
          const double squared = (budget == 64 ? 1.0 : 0.3) * std::exp(0.4 * policy + 0.2 * normal(random));
          const double kl = made.scale * std::pow(squared, 0.8) * std::exp(of_document + made.noise * normal(random));
          add(fmt::format("policy-{}", policy), "method", budget, squared, kl);
        }
        add("full", "ceiling", budget, 0.0, 0.0);
      }
    }
  }
  return tables;
}

LiveRuns runs_of(const Simulated& made) {
  const SimulatedTables tables = simulated(made);
  return live_runs(tables.validate, tables.replay);
}

KlCalibration learned(const Simulated& made = {}) {
  auto learned = learn_calibration(runs_of(made));
  if (!learned) throw std::runtime_error("nothing is learned");
  KlCalibration calibration;
  static_cast<CalibratedRuns&>(calibration) = *learned;
  calibration.model = "simulated";
  calibration.model_fingerprint = "f";
  return calibration;
}

PredictedRun run_of(double squared, double slots = 64.0, std::string_view policy = "policy-1") {
  PredictedRun run{.policy = policy, .prompt_length = 1000.0, .slots = slots};
  run.measures[index_of(Measure::kSquaredError)] = squared;
  return run;
}

TEST(KlMap, FindsThePowerLawThatMadeTheRuns) {
  std::vector<double> lost, kl, weights;
  for (int i = 1; i <= 40; ++i) {
    lost.push_back(0.1 * i);
    kl.push_back(2.0 * std::pow(0.1 * i, 0.8));
    weights.push_back(1.0);
  }
  const auto map = fit_kl_map(lost, kl, weights);
  ASSERT_TRUE(map);
  for (const double x : {0.05, 0.7, 3.0}) EXPECT_NEAR((*map)(x), 2.0 * std::pow(x, 0.8), 0.01 * std::pow(x, 0.8));
}

// Poisson's first-order condition: the weighted mean of what is foretold is that of the runs.
TEST(KlMap, MeansComeOutRightWhereRunsWithoutDivergenceAreAmongThem) {
  const std::vector<double> lost = {1.0, 2.0, 3.0, 5.0, 8.0, 0.5};
  const std::vector<double> kl = {0.1, 0.0, 0.9, 1.1, 2.5, 0.0};
  const std::vector<double> weights(6, 1.0);
  const auto map = fit_kl_map(lost, kl, weights);
  ASSERT_TRUE(map);
  double sum = 0.0;
  for (const double one : lost) sum += (*map)(one);
  EXPECT_NEAR(sum, 4.6, 1e-6);
}

TEST(KlMap, RisesStrictlyFromZero) {
  for (const std::optional<double> saturation : {std::optional<double>(), std::optional(0.5)}) {
    const KlMap map{.log_scale = 0.3, .saturation = saturation, .exponent = 1.5};
    EXPECT_EQ(map(0.0), 0.0);
    double before = 0.0;
    for (double lost = 1e-12; lost < 1e3; lost *= 1.7) {
      EXPECT_GT(map(lost), before);
      before = map(lost);
    }
  }
}

TEST(KlMap, IsNotThereWhereDivergenceFallsWithTheLoss) {
  const std::vector<double> lost = {1.0, 2.0, 3.0, 4.0};
  const std::vector<double> kl = {4.0, 3.0, 2.0, 1.0};
  EXPECT_FALSE(fit_kl_map(lost, kl, std::vector<double>(4, 1.0)));
  EXPECT_FALSE(fit_kl_map(lost, std::vector<double>(4, 0.0), std::vector<double>(4, 1.0)));
}

TEST(Prediction, ChoosesTheMeasureThatMadeTheDivergence) {
  EXPECT_EQ(learned().learned.measure, Measure::kSquaredError);
}

TEST(Prediction, TheWorstSpansMassIsRankedAndNeverMapped) {
  EXPECT_TRUE(is_calibrated(Measure::kWorstSpanMass));
  EXPECT_FALSE(foretells(Measure::kWorstSpanMass));
  EXPECT_FALSE(foretells(Measure::kRegret));
  EXPECT_TRUE(foretells(Measure::kSquaredError));
}

TEST(Prediction, NothingLostIsExactlyZero) {
  const KlPredictor predictor(learned(), "f");
  const auto predicted = predictor(run_of(0.0, 1000.0, "full"));
  ASSERT_TRUE(predicted);
  EXPECT_EQ(predicted->kl, 0.0);
  EXPECT_EQ(predicted->low, 0.0);
  EXPECT_EQ(predicted->high, 0.0);
  EXPECT_EQ(predictor.mean({"full", ""}, std::vector<double>{0.0, 0.0}, 2).upper(), 0.0);
}

TEST(Prediction, TinyLossesHaveFiniteIntervalsFromZero) {
  const auto predicted = KlPredictor(learned(), "f")(run_of(1e-30));
  ASSERT_TRUE(predicted && predicted->low && predicted->high);
  EXPECT_EQ(*predicted->low, 0.0);
  EXPECT_LT(*predicted->high, 10 * kKlFloor);
}

TEST(Prediction, SaysWhatLiesOutsideOfTheCalibration) {
  const KlPredictor predictor(learned(), "f");
  EXPECT_EQ(predictor(run_of(1.0))->calibrated, Calibrated::kLearned);
  EXPECT_EQ(predictor(run_of(1.0, 300.0))->calibrated, Calibrated::kExtrapolated);
  EXPECT_EQ(predictor(run_of(1.0, 64.0, "another"))->calibrated, Calibrated::kExtrapolated);
  PredictedRun longer = run_of(1.0);
  longer.prompt_length = 2000.0;
  EXPECT_EQ(predictor(longer)->calibrated, Calibrated::kExtrapolated);
  EXPECT_FALSE(predictor(PredictedRun{.policy = "policy-1"})) << "without the measure";
}

TEST(Prediction, RefusesAnotherModelUnlessTheMeasureHasNoUnit) {
  KlCalibration calibration = learned();
  EXPECT_THROW(KlPredictor(calibration, "g"), core::InputError);
  calibration.learned.measure = Measure::kRelativeSquaredError;
  PredictedRun run = run_of(1.0);
  run.measures[index_of(Measure::kRelativeSquaredError)] = 1.0;
  const auto predicted = KlPredictor(calibration, "g")(run);
  ASSERT_TRUE(predicted);
  EXPECT_EQ(predicted->calibrated, Calibrated::kDefault);
  EXPECT_FALSE(predicted->low);
}

TEST(Prediction, AnotherModelsMeansHaveTheFactorOfModelsLeftOut) {
  KlCalibration calibration = learned();
  calibration.learned.measure = Measure::kTailLoss;
  calibration.other_model_factor = 2.0;
  const std::vector<double> predicted = {1.0, 3.0};
  const Interval mean = KlPredictor(calibration, "g").mean({"policy-1", ""}, predicted, 2);
  EXPECT_DOUBLE_EQ(*mean.low, 1.0);
  EXPECT_DOUBLE_EQ(*mean.high, 4.0);
}

// Both kinds lose the same; those that go on evicting cost three times as much.
Calibration of_both_kinds() {
  SimulatedTables tables = simulated({});
  tables.add(simulated({.seed = 2, .scale = 6.0, .parameters = "decode=yes"}));
  return calibrate(tables.validate, tables.replay, nullptr, {.resamples = 5, .transfer_resamples = 2, .splits = 4});
}

TEST(Prediction, WhatEvictsWhileDecodingHasAMapOfItsOwn) {
  Calibration found = of_both_kinds();
  ASSERT_TRUE(found.learned && found.learned->decoding);
  found.learned->model_fingerprint = "f";
  const KlPredictor predictor(*found.learned, "f");
  PredictedRun run = run_of(1.0);
  const auto at_prompt = predictor(run);
  run.parameters = "decode=yes";
  const auto decoding = predictor(run);
  EXPECT_EQ(at_prompt->calibrated, Calibrated::kLearned);
  EXPECT_EQ(decoding->calibrated, Calibrated::kDecode);
  EXPECT_NEAR(decoding->kl / at_prompt->kl, 3.0, 0.5);
  const KlPredictor of_prompts(learned(), "f");
  EXPECT_EQ(of_prompts(run)->calibrated, Calibrated::kExtrapolated) << "runs of the other kind taught nothing";
}

TEST(Prediction, KindsOfEvictionAreRankedByThemselves) {
  const Calibration found = of_both_kinds();
  std::map<std::string, std::set<double>> policies;
  for (const RowView row : RowsOf(found.measures)) policies[row.text("eviction")].insert(*row.number("policies"));
  EXPECT_THAT(policies, ::testing::UnorderedElementsAre(::testing::Pair("prompt", ::testing::ElementsAre(8.0)),
                                                        ::testing::Pair("decode", ::testing::ElementsAre(8.0))));
  std::set<std::string> overall;
  for (const RowView& row : overall_rows(found.measures)) overall.insert(row.text("eviction"));
  EXPECT_THAT(overall, ::testing::ElementsAre("prompt"));
}

/// Stretches 1 and 2 of 24 documents' answers; the error of predictions grows with the distance.
Table stretches() {
  Table table{{"prompt", "document", "policy", "parameters", "role", "budget_requested", "slots_held", "step_first",
               "step_last", "steps", "squared_error", "kl", "status"}};
  core::SplitMix64 random(3);
  for (int document = 0; document < 24; ++document) {
    const std::string id = fmt::format("d{}", document);
    for (int policy = 0; policy < 6; ++policy) {
      for (const int step : {1, 2}) {
        const double squared = std::exp(0.4 * policy + 0.2 * normal(random));
        const double kl = squared * std::exp((step == 1 ? 0.1 : 0.8) * normal(random));
        table.add_row({id, id, fmt::format("policy-{}", policy), "", "method", std::int64_t{64}, 64.0,
                       std::int64_t{step}, std::int64_t{step}, std::int64_t{1}, squared, kl, "ok"});
      }
    }
  }
  return table;
}

TEST(Prediction, IntervalsOfStretchesWidenWithTheDistanceFromThePrompt) {
  const LiveStretches found = live_stretches(stretches(), Evicts::kAtPrompt);
  EXPECT_THAT(found.last_steps, ::testing::ElementsAre(1, 2));
  const auto curve = learn_curve(found.runs, Measure::kSquaredError, found.last_steps);
  ASSERT_TRUE(curve && curve->factor(1) && curve->factor(2));
  EXPECT_GT(*curve->factor(2), 1.5 * *curve->factor(1));
  EXPECT_EQ(curve->factor(64), curve->factor(2));
  EXPECT_TRUE(curve->covers(2));
  EXPECT_FALSE(curve->covers(4));
}

TEST(Prediction, StretchesBeyondWhatACurveCoversAreExtrapolated) {
  KlCalibration calibration = learned();
  const LiveStretches found = live_stretches(stretches(), Evicts::kAtPrompt);
  calibration.curve = learn_curve(found.runs, Measure::kSquaredError, found.last_steps);
  const KlPredictor predictor(calibration, "f");
  EXPECT_EQ(predictor.at_steps(run_of(1.0), 2)->calibrated, Calibrated::kLearned);
  EXPECT_EQ(predictor.at_steps(run_of(1.0), 4)->calibrated, Calibrated::kExtrapolated);
  EXPECT_FALSE(KlPredictor(learned(), "f").at_steps(run_of(1.0), 1)) << "without a curve";
}

TEST(Prediction, MeansOverMoreDocumentsHaveNarrowerIntervals) {
  const LearnedKl found = learned().learned;
  ASSERT_TRUE(found.mean_factor(1) && found.mean_factor(16));
  EXPECT_LT(*found.mean_factor(16), *found.mean_factor(1));
  EXPECT_LE(*found.mean_factor(16), *found.mean_factor(12));
}

TEST(Prediction, FewDocumentsGiveAMapWithoutAnInterval) {
  const LearnedKl found = learned({.documents = 6}).learned;
  EXPECT_FALSE(found.prompt_factor);
  EXPECT_TRUE(found.mean_factors.empty());
}

// A calibration of 24 documents, and 200 new ones of the same kind.
TEST(Prediction, NineOfTenNewPromptsLieInTheirIntervals) {
  double within = 0.0;
  double all = 0.0;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    const KlPredictor predictor(learned({.seed = seed}), "f");
    for (const LiveRun& run : runs_of({.documents = 50, .prompts_of_a_document = 2, .seed = 100 + seed}).runs) {
      const auto predicted = predictor(run_of(*run.lost[index_of(Measure::kSquaredError)]));
      within += *predicted->low <= run.kl && run.kl <= *predicted->high ? 1.0 : 0.0;
      all += 1.0;
    }
  }
  EXPECT_NEAR(within / all, 0.9, 0.05);
}

TEST(Prediction, HalvesOfTheDocumentsForetellEachOtherAsOftenAsTheyClaim) {
  const PredictionErrors errors = prediction_errors(runs_of({.documents = 40}), Evicts::kAtPrompt, {.splits = 40});
  ASSERT_TRUE(errors.coverage && errors.median_factor);
  EXPECT_NEAR(*errors.coverage, 0.92, 0.07);
  EXPECT_LT(*errors.median_factor, 1.15);
  EXPECT_LT(*errors.median_factor, *errors.nine_of_ten_factor);
}

TEST(Prediction, PromptsOfOneDocumentCountAsOne) {
  const LiveRuns runs = runs_of({.documents = 6, .prompts_of_a_document = 3});
  EXPECT_EQ(runs.documents.size(), 6U);
  EXPECT_EQ(runs.prompts, 18U);
  EXPECT_FALSE(learn_kl(runs, every_document(runs))->prompt_factor) << "eighteen prompts are no eighteen documents";
}

core::JsonDocument json(const std::string& text) { return core::JsonDocument::parse(text, "calibration.json"); }

TEST(CalibrationFile, GivesBackWhatWasWritten) {
  KlCalibration written = learned();
  const LiveStretches found = live_stretches(stretches(), Evicts::kAtPrompt);
  written.curve = learn_curve(found.runs, Measure::kSquaredError, found.last_steps);
  written.decoding = learned({.seed = 2});
  written.other_model_factor = 2.5;
  const KlCalibration read = parse_calibration(json(calibration_json(written)));
  EXPECT_EQ(calibration_json(read), calibration_json(written));
  EXPECT_EQ(KlPredictor(read, "f")(run_of(1.3))->kl, KlPredictor(written, "f")(run_of(1.3))->kl);
}

TEST(CalibrationFile, RefusesWhatIsDamagedInOneLine) {
  KlCalibration calibration = learned();
  calibration.curve = KlCurve{.measure = Measure::kSquaredError, .stretches = {{1, 2.0}, {2, 3.0}}};
  const std::string good = calibration_json(calibration);
  const auto with = [&](const std::string& old, const std::string& other) {
    std::string text = good;
    const std::size_t at = text.find(old);
    EXPECT_NE(at, std::string::npos) << old;
    return text.replace(at, old.size(), other);
  };
  for (const std::string& text :
       {std::string("{}"), std::string("[]"), with("evictlab-calibration", "evictlab-budgets"),
        with("\"format_version\": 1", "\"format_version\": 2"), with("\"squared_error\"", "\"regret\""),
        with("\"squared_error\"", "\"no_measure\""), with("\"exponent\": ", "\"exponent\": -"),
        with("\"confidence\": 0.9", "\"confidence\": 1.5"), with("\"prompt_factor\": ", "\"prompt_factor\": 0.0"),
        with("\"documents\": 2,", "\"documents\": 1,"), with("\"covers\"", "\"recovers\""),
        with("\"factor\": 3.0", "\"factor\": 1.5"), with("\"last_step\": 2", "\"last_step\": 1")}) {
    try {
      parse_calibration(json(text));
      ADD_FAILURE() << text;
    } catch (const core::InputError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      EXPECT_THAT(error.what(), ::testing::StartsWith("calibration.json"));
    }
  }
}

}  // namespace
}  // namespace evictlab::results
