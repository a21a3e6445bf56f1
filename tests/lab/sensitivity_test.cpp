#include "lab/sensitivity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "lab/analyze.hpp"
#include "lab/live_sensitivity.hpp"
#include "lab/replay.hpp"
#include "results/measures.hpp"
#include "results/rows.hpp"
#include "results/run_table.hpp"
#include "small_model.hpp"
#include "small_trace.hpp"

namespace evictlab::lab {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr int kLayers = 2;
constexpr int kKvHeads = 2;

AnalyzeOptions analysis_of(const SmallTrace& trace, const std::string& sensitivity) {
  return {.traces = {trace.path()}, .settings = {.sensitivity = sensitivity}};
}

SensitivityTables sensitivity_of(const SmallTrace& trace, const std::string& text) {
  Observer observer;
  return analyze(analysis_of(trace, text), observer).recordings.front().tables.sensitivity.value();
}

TEST(Sensitivity, OfALayerIsTheRowThatAReplayOfThePolicyHasOfIt) {
  // SnapKV gives every layer the same count, and replay judges each layer by the full cache's states.
  const SmallTrace trace;
  const SensitivityTables tables = sensitivity_of(trace, "snapkv(window=16)@24,48");
  Observer observer;
  const ReplayOutcome replayed =
      replay({.traces = {trace.path()}, .policies = {.list = "snapkv(window=16)"}, .budgets = "24,48"}, observer);
  std::map<std::tuple<std::string, std::string, std::string>, results::RowView> rows;
  for (const results::RowView row : results::RowsOf(replayed.tables.replay)) {
    rows.emplace(std::tuple{row.prompt(), row.budget(), row.text("layer")}, row);
  }
  int compared = 0;
  for (const results::RowView row : results::RowsOf(tables.sensitivity)) {
    if (row.text("head") != "all") continue;
    const results::RowView& expected = rows.at({row.prompt(), row.budget(), row.text("layer")});
    for (const results::MeasureInfo& measure : results::measures()) {
      EXPECT_EQ(row.number(measure.column), expected.number(measure.column)) << measure.column;
    }
    EXPECT_EQ(row.text("kl"), "");
    ++compared;
  }
  EXPECT_EQ(compared, 3 * 2 * kLayers);
}

TEST(Sensitivity, OfAKvHeadIsNoMoreMassThanItsLayerLoses) {
  const SmallTrace trace;
  std::map<std::pair<std::string, std::string>, double> layer;  // mass lost
  std::map<std::pair<std::string, std::string>, double> heads;
  const SensitivityTables tables = sensitivity_of(trace, "snapkv(window=16)@24");
  for (const results::RowView row : results::RowsOf(tables.sensitivity)) {
    auto& lost = row.text("head") == "all" ? layer : heads;
    lost[{row.prompt(), row.text("layer")}] += 1 - row.number("retained_mass").value();
  }
  // Retained mass is a mean over query heads: what the kv heads lose adds up to what the layer loses.
  for (const auto& [site, lost] : layer) EXPECT_NEAR(heads.at(site), lost, 1e-9);
}

TEST(Sensitivity, StandsBesideThePublishedSharesOfEveryLayerWhichSumToOne) {
  const SmallTrace trace;
  const SensitivityTables tables = sensitivity_of(trace, "snapkv(window=16)@48");
  for (const char* column :
       {"preference_share", "retained_share", "pyramidkv_share", "cake_share", "dynamickv_share"}) {
    std::map<std::string, double> sums;
    for (const results::RowView row : results::RowsOf(tables.sensitivity)) {
      if (const auto share = row.number(column)) sums[row.prompt()] += *share;
    }
    for (const auto& [prompt, sum] : sums) EXPECT_NEAR(sum, 1, 1e-9) << column << " of " << prompt;
  }
}

TEST(Sensitivity, NeedsTheFullTierAndACount) {
  const SmallTrace trace(trace::Tier::kSummary);
  Observer observer;
  EXPECT_THAT([&] { analyze(analysis_of(trace, "snapkv(window=16)@24"), observer); },
              ThrowsMessage<core::InputError>(HasSubstr("recorded in the summary tier")));
  for (const char* text : {"snapkv", "@64", "snapkv@"}) {
    EXPECT_THAT([&] { analyze(analysis_of(trace, text), observer); },
                ThrowsMessage<core::InputError>(HasSubstr("must be policies@counts")))
        << text;
  }
}

TEST(Sensitivity, IsRefusedWhereEveryCountIsBelowTheProtection) {
  const SmallTrace trace;
  Observer observer;
  EXPECT_THAT([&] { analyze(analysis_of(trace, "snapkv(window=16)@8"), observer); },
              ThrowsMessage<core::InputError>(HasSubstr("nothing could run")));
}

LiveSensitivityOptions live_of(const SmallModel& model, const std::string& budgets) {
  return {.run = {.model = model.path(),
                  .prompts = model.prompts(),
                  .policies = {.list = "snapkv(window=16)"},
                  .budgets = budgets,
                  .window = 16,
                  .out = model.folder("sensitivity")},
          .heads = true};
}

TEST(LiveSensitivity, IsExactlyZeroWhereTheCountHoldsThePrompt) {
  const SmallModel model;
  Observer observer;
  const LiveSensitivityOutcome outcome = live_sensitivity(live_of(model, "24,200"), observer);
  EXPECT_EQ(outcome.tables.sensitivity.rows(), 3U * 2 * kLayers * (1 + kKvHeads));
  for (const results::RowView row : results::RowsOf(outcome.tables.sensitivity)) {
    if (row.budget() == "200") {
      EXPECT_EQ(row.number("kl"), 0.0);
      EXPECT_EQ(row.number("nll_increase"), 0.0);
      EXPECT_EQ(row.number("squared_error"), 0.0);
      EXPECT_EQ(row.text("status"), "degenerate");
    } else {
      EXPECT_GT(row.number("kl").value(), 0) << row.text("layer") << " " << row.text("head");
      EXPECT_GT(row.number("squared_error").value(), 0);
    }
  }
}

TEST(LiveSensitivity, OfOneLayerIsThatOfAModelThatEvictsThereOnly) {
  const SmallModel model;
  Observer observer;
  LiveSensitivityOptions options = live_of(model, "24");
  const LiveSensitivityOutcome outcome = live_sensitivity(options, observer);
  options.run.policies.list = "snapkv(window=16,evict_layer=1)";
  options.run.teacher_forced = true;
  options.run.out = model.folder("live");
  const ValidateOutcome validated = validate(options.run, observer);
  std::map<std::string, double> kl;
  for (const results::RowView row : results::RowsOf(validated.validate)) {
    if (row.text("policy") == "snapkv") kl[row.prompt()] = row.number("kl").value();
  }
  for (const results::RowView row : results::RowsOf(outcome.tables.sensitivity)) {
    if (row.text("layer") == "1" && row.text("head") == "all") {
      EXPECT_EQ(row.number("kl"), kl.at(row.prompt()));
    }
  }
}

TEST(LiveSensitivity, ResumesWhereItWasInterrupted) {
  const SmallModel model;
  RecordingObserver counting;
  LiveSensitivityOptions options = live_of(model, "24");
  const LiveSensitivityOutcome whole = live_sensitivity(options, counting);
  options.run.out = model.folder("interrupted");
  InterruptingObserver in_the_second(counting.stages.size() / 2);
  EXPECT_THROW(live_sensitivity(options, in_the_second), core::Interrupted);
  Observer observer;
  const LiveSensitivityOutcome resumed = live_sensitivity(options, observer);
  EXPECT_EQ(resumed.tables.sensitivity.to_csv(), whole.tables.sensitivity.to_csv());
  EXPECT_EQ(resumed.tables.agreement.to_csv(), whole.tables.agreement.to_csv());
}

}  // namespace
}  // namespace evictlab::lab
