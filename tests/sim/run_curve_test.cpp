#include "sim/replay/run_curve.hpp"

#include <gmock/gmock.h>

#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "replay_table.hpp"
#include "results/curve_steps.hpp"
#include "small_replay.hpp"

namespace evictlab::sim {
namespace {

TEST(Stretches, DoubleAndCoverEveryStepOnce) {
  std::vector<std::int64_t> ends;
  std::int64_t next = 1;
  for (const results::Stretch& stretch : results::stretches_of(20)) {
    EXPECT_EQ(stretch.first, next);
    next = stretch.last + 1;
    ends.push_back(stretch.last);
  }
  EXPECT_THAT(ends, ::testing::ElementsAre(1, 2, 4, 8, 16, 32));
  EXPECT_TRUE(results::stretches_of(0).empty());
}

/// By prompt, policy and parameters: the mean over all steps of what curves say stretch by stretch.
std::map<std::tuple<std::string, std::string, std::string>, std::pair<double, double>> means_of_curves(
    const results::Table& curves, const char* measure) {
  std::map<std::tuple<std::string, std::string, std::string>, std::pair<double, double>> sums;  // sum, steps
  const Rows rows(curves);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    auto& [sum, steps] = sums[{rows.text(row, "prompt"), rows.text(row, "policy"), rows.text(row, "parameters")}];
    const double own = rows.number(row, "steps").value();
    sum += own * rows.number(row, measure).value();
    steps += own;
  }
  return sums;
}

TEST(Curves, HaveTheRunsLossesAsTheirMeanWhetherItEvictsWhileDecodingOrNot) {
  const ReplayResult result = run(small_trace(), "full,snapkv,h2o(decode=yes),cake,random", "40");
  const Rows rows(result.replay);
  for (const char* measure : {"squared_error", "output_relative_squared_error"}) {
    auto means = means_of_curves(result.curves, measure);
    EXPECT_EQ(means.size(), 3U * 5U);
    for (std::size_t row = 0; row < rows.size(); ++row) {
      if (rows.text(row, "layer") != "all") continue;
      const auto& [sum, steps] =
          means.at({rows.text(row, "prompt"), rows.text(row, "policy"), rows.text(row, "parameters")});
      const double whole = rows.number(row, measure).value();
      EXPECT_EQ(steps, 12.0);
      EXPECT_NEAR(sum / steps, whole, 1e-5 * whole) << rows.text(row, "policy");
    }
  }
}

TEST(Curves, AreEmptyWhereNothingOfTheOutputIsMeasured) {
  ReplayOptions options;
  options.full_measures = false;
  EXPECT_EQ(replay(small_trace(), make_policies("snapkv"), parse_budgets("40"), options).curves.rows(), 0U);
  options.full_measures = true;
  options.curves = false;
  EXPECT_EQ(replay(small_trace(), make_policies("snapkv"), parse_budgets("40"), options).curves.rows(), 0U);
}

TEST(Curves, ForetellEveryStretchWithFactorsThatWiden) {
  results::KlCalibration calibration;
  calibration.model_fingerprint = small_trace().model().fingerprint;
  calibration.prompt_length = {0.0, 1e6};
  calibration.slots = {0.0, 1e6};
  calibration.share = {0.0, 1.0};
  calibration.policies = {"snapkv"};
  calibration.curve = results::KlCurve{.measure = results::Measure::kSquaredError, .stretches = {{1, 1.5}, {4, 2.0}}};
  const results::KlPredictor predictor(calibration, calibration.model_fingerprint);
  ReplayOptions options;
  options.predictor = &predictor;
  const ReplayResult result = replay(small_trace(), make_policies("snapkv"), parse_budgets("40"), options);
  const Rows rows(result.curves);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const double last = rows.number(row, "step_last").value();
    const double kl = rows.number(row, "predicted_kl").value();
    EXPECT_NEAR(rows.number(row, "predicted_kl_high").value(), kl * (last == 1.0 ? 1.5 : 2.0), 1e-9 * kl);
    EXPECT_EQ(rows.text(row, "calibration"), last <= 4.0 ? "learned" : "extrapolated");
  }
}

}  // namespace
}  // namespace evictlab::sim
