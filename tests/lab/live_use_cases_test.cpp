#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.hpp"
#include "lab/race.hpp"
#include "lab/record.hpp"
#include "lab/validate.hpp"
#include "results/calibration_file.hpp"
#include "results/rows.hpp"
#include "small_model.hpp"
#include "small_trace.hpp"
#include "trace/io/joined.hpp"
#include "trace/io/reader.hpp"

// Recording and validation through their interfaces, on a small model with random weights.

namespace evictlab::lab {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

RecordOptions record_of(const SmallModel& model) {
  RecordOptions options{.model = model.path(), .prompts = model.prompts(), .out = model.folder("trace.h5")};
  options.record.window = 16;
  return options;
}

TEST(Record, RecordsEveryPromptWithItsAnswerAsTheFuture) {
  const SmallModel model;
  RecordingObserver observer;
  const RecordOutcome outcome = record(record_of(model), observer);
  EXPECT_EQ(outcome.prompts, 3U);
  EXPECT_EQ(outcome.already, 0U);
  EXPECT_EQ(outcome.others, 0U);
  EXPECT_THAT(observer.stages, Each(std::string("recording")));
  EXPECT_THAT(observer.starts, SizeIs(1));
  const trace::TraceReader trace(outcome.trace);
  ASSERT_THAT(trace.prompts(), SizeIs(kPrompts));
  EXPECT_EQ(trace.prompts()[1].id, "prompt-1");
  EXPECT_EQ(trace.prompts()[1].prompt_length, kPositions);
  EXPECT_EQ(trace.prompts()[1].future_length, kAnswer);
}

TEST(Record, OnlyEstimatesInADryRun) {
  const SmallModel model;
  Observer observer;
  RecordOptions options = record_of(model);
  options.dry_run = true;
  const RecordOutcome outcome = record(options, observer);
  EXPECT_EQ(outcome.prompts, 3U);
  EXPECT_GT(outcome.estimate.trace_bytes, 0);
  EXPECT_THAT(outcome.trace.string(), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(options.out));
}

TEST(Record, KeepsWholePromptsWhenInterruptedAndTheSameOptionsResume) {
  const SmallModel model;
  RecordOptions options = record_of(model);
  RecordingObserver counting;
  record(options, counting);
  options.out = model.folder("interrupted.h5");
  InterruptingObserver in_the_second(counting.stages.size() / 2);  // of three prompts
  EXPECT_THROW(record(options, in_the_second), core::Interrupted);
  EXPECT_FALSE(std::filesystem::exists(options.out));
  EXPECT_THAT(trace::open_traces(std::vector{model.folder("interrupted.h5.parts")})->prompts(), SizeIs(1));
  Observer observer;
  const RecordOutcome outcome = record(options, observer);
  EXPECT_EQ(outcome.already, 1U);
  EXPECT_EQ(outcome.prompts, 3U);
  EXPECT_THAT(trace::TraceReader(options.out).prompts(), SizeIs(3));
}

TEST(Record, IsInterruptedWithoutAPromptToKeep) {
  const SmallModel model;
  InterruptingObserver at_once(0);
  EXPECT_THROW(record(record_of(model), at_once), core::Interrupted);
}

TEST(Record, RefusesToKeepATraceAndToReplaceIt) {
  const SmallModel model;
  Observer observer;
  RecordOptions options = record_of(model);
  options.append = true;
  options.force = true;
  EXPECT_THROW(record(options, observer), core::InputError);
}

ValidateOptions validate_of(const SmallModel& model) {
  return {.model = model.path(),
          .prompts = model.prompts(),
          .policies = {.list = "snapkv(window=16),streaming-llm(sinks=2,window=8),random"},
          .budgets = "24,48",
          .window = 16,
          .out = model.folder("live")};
}

/// By prompt, policy and budget.
std::vector<std::string> divergences(const results::Table& validate) {
  std::vector<std::string> texts;
  for (const results::RowView row : results::RowsOf(validate)) {
    texts.push_back(row.prompt() + " " + row.text("policy") + " " + row.budget() + " " + row.text("kl"));
  }
  return texts;
}

TEST(Validate, ComparesEveryPolicyWithTheFullCache) {
  const SmallModel model;
  RecordingObserver observer;
  const ValidateOutcome outcome = validate(validate_of(model), observer);
  ASSERT_EQ(outcome.validate.rows(), 3U * 4 * 2);  // prompts, policies and the full cache, budgets
  for (const results::RowView row : results::RowsOf(outcome.validate)) {
    const bool full = row.text("policy") == "full";
    EXPECT_EQ(full, row.number("kl") == 0.0) << row.text("policy");
    EXPECT_EQ(row.number("overlap"), 1.0) << row.text("policy");  // with what replay keeps
  }
  EXPECT_GT(outcome.calibration.measures.rows(), 0U);
  EXPECT_EQ(outcome.files.front(), model.folder("live/validate.csv"));
  for (const std::filesystem::path& file : outcome.files) EXPECT_TRUE(std::filesystem::exists(file)) << file;
  EXPECT_FALSE(std::filesystem::exists(model.folder("live/parts")));
  EXPECT_THAT(observer.starts, SizeIs(1));
}

TEST(Validate, ResumesFromItsCheckpointAfterAnInterrupt) {
  const SmallModel model;
  ValidateOptions options = validate_of(model);
  Observer silent;
  const std::vector<std::string> whole = divergences(validate(options, silent).validate);
  options.out = model.folder("interrupted");
  InterruptingObserver in_the_second(12);  // a prompt has eight runs
  EXPECT_THROW(validate(options, in_the_second), core::Interrupted);
  EXPECT_THAT(in_the_second.of(Topic::kInterrupted), ElementsAre(HasSubstr("parts")));
  RecordingObserver observer;
  EXPECT_EQ(divergences(validate(options, observer).validate), whole);
  EXPECT_THAT(observer.of(Topic::kResuming), ElementsAre("1 of 3 prompts are finished"));
  EXPECT_THAT(observer.stages, SizeIs(2 * 8));
}

TEST(Validate, ReportsWhatCannotBeRunAndLeavesNothingWhenNothingCan) {
  const SmallModel model;
  ValidateOptions options = validate_of(model);
  options.policies.list = "snapkv(window=16),oracle(decode=yes)";
  options.budgets = "8,48";
  RecordingObserver observer;
  validate(options, observer);
  EXPECT_THAT(observer.of(Topic::kLeftOut), ElementsAre(HasSubstr("oracle")));
  EXPECT_THAT(observer.of(Topic::kInfeasible), ElementsAre(HasSubstr("snapkv at 8")));
  options.budgets = "8";
  options.out = model.folder("nothing");
  EXPECT_THROW(validate(options, observer), core::InputError);
  EXPECT_FALSE(std::filesystem::exists(model.folder("nothing/parts")));
}

/// With a calibration of another model, which has no interval.
RaceOptions race_of(const SmallModel& model) {
  results::KlCalibration calibration;
  calibration.model = calibration.model_fingerprint = "another";
  calibration.prompts = calibration.documents = 1;
  calibration.learned.measure = results::Measure::kRelativeSquaredError;
  testing::write_file(model.folder("calibration.json"), results::calibration_json(calibration));
  RaceOptions options{.run = validate_of(model), .calibration = model.folder("calibration.json")};
  options.run.policies.list = "snapkv(window=16),streaming-llm(sinks=2,window=8),knorm,random";
  options.run.out = model.folder("race");
  return options;
}

TEST(Race, RunsMethodsAloneWhereReplaySeparatesNothing) {
  const SmallModel model;
  RecordingObserver observer;
  const RaceOutcome outcome = race(race_of(model), observer);
  EXPECT_EQ(outcome.documents, 3U);
  EXPECT_EQ(outcome.runs, 3U * 3 * 2);  // prompts, methods, budgets: three documents decide nothing
  EXPECT_EQ(outcome.runs, outcome.runs_of_all);
  EXPECT_EQ(outcome.validate.rows(), outcome.runs);
  EXPECT_EQ(outcome.race.rows(), 3U * 2);  // pairs
  EXPECT_THAT(observer.of(Topic::kNote), Contains(HasSubstr("calibration is of another model")));
  EXPECT_FALSE(std::filesystem::exists(model.folder("race/parts")));
}

TEST(Race, ResumesWhileItReplaysAndWhileItRaces) {
  const SmallModel model;
  RaceOptions options = race_of(model);
  Observer silent;
  const RaceOutcome whole = race(options, silent);
  options.run.out = model.folder("interrupted");
  InterruptingObserver replaying(1);
  EXPECT_THROW(race(options, replaying), core::Interrupted);
  EXPECT_THAT(replaying.of(Topic::kInterrupted), ElementsAre(HasSubstr("parts")));
  InterruptingObserver racing(2);  // one prompt is left to replay
  EXPECT_THROW(race(options, racing), core::Interrupted);
  EXPECT_THAT(racing.of(Topic::kInterrupted), ElementsAre(HasSubstr("parts")));
  EXPECT_THAT(racing.stages, ElementsAre("replaying", "racing", "racing"));
  const RaceOutcome resumed = race(options, silent);
  EXPECT_EQ(divergences(resumed.validate), divergences(whole.validate));
  EXPECT_EQ(resumed.race.to_csv(), whole.race.to_csv());
}

TEST(Race, StartsOverForAnotherCalibration) {
  const SmallModel model;
  RaceOptions options = race_of(model);
  InterruptingObserver replaying(1);
  EXPECT_THROW(race(options, replaying), core::Interrupted);
  testing::write_file(model.folder("other.json"), core::read_text(options.calibration) + "\n");
  options.calibration = model.folder("other.json");
  Observer silent;
  EXPECT_THROW(race(options, silent), core::InputError);
}

}  // namespace
}  // namespace evictlab::lab
