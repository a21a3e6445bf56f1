#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "lab/advise.hpp"
#include "lab/analyze.hpp"
#include "lab/replay.hpp"
#include "lab/report.hpp"
#include "lab/sweep.hpp"
#include "lab/synth.hpp"
#include "small_trace.hpp"
#include "trace/io/reader.hpp"

// Every use case through its interface, on a small synthetic trace.

namespace evictlab::lab {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

ReplayOptions replay_of(const SmallTrace& trace) {
  return {.traces = {trace.path()}, .policies = {.list = "snapkv(window=16),h2o,random,oracle"}, .budgets = "24,48,64"};
}

TEST(Replay, ReturnsItsTablesAndWritesNothingWithoutAPlace) {
  const SmallTrace trace;
  RecordingObserver observer;
  const ReplayOutcome outcome = replay(replay_of(trace), observer);
  EXPECT_EQ(outcome.tables.replay.rows(), 3U * 4 * 3 * 3);  // prompts, policies, budgets, layers and "all"
  EXPECT_EQ(outcome.kept_overlap.rows(), 3U * 6);           // prompts, pairs of policies at one budget
  EXPECT_EQ(outcome.summary.rows(), 4U * 3);
  EXPECT_THAT(outcome.files, IsEmpty());
  EXPECT_THAT(observer.stages, Each(std::string("replaying")));
  EXPECT_THAT(observer.stages, SizeIs(3 * 2));
  EXPECT_THAT(observer.starts, SizeIs(1));  // one stage, begun once
}

TEST(Replay, JudgesKeptSetsOfSeveralBudgetsAsTheyWereReplayed) {
  const SmallTrace trace;
  Observer observer;
  ReplayOptions options = replay_of(trace);
  options.out = trace.folder("first/replay.csv");
  options.kept = trace.folder("kept.h5");
  const ReplayOutcome first = replay(options, observer);
  EXPECT_THAT(first.files, SizeIs(7));
  const ReplayOutcome judged = replay({.traces = {trace.path()}, .judged = options.kept}, observer);
  ASSERT_EQ(judged.kept_overlap.rows(), first.kept_overlap.rows());
  for (std::size_t row = 0; row < judged.kept_overlap.rows(); ++row) {
    for (const char* column : {"prompt", "budget_requested", "overlap"}) {
      EXPECT_EQ(judged.kept_overlap.text(row, judged.kept_overlap.column(column)),
                first.kept_overlap.text(row, first.kept_overlap.column(column)));
    }
  }
}

TEST(Replay, ReportsWhatCannotBeRunAndRefusesWhenNothingCan) {
  const SmallTrace trace;
  RecordingObserver observer;
  ReplayOptions options = replay_of(trace);
  options.policies.list = "snapkv,streaming-llm(sinks=4,window=16)";  // snapkv reads a window of 32, 16 are recorded
  options.budgets = "8,48";
  replay(options, observer);
  EXPECT_THAT(observer.of(Topic::kLeftOut), ElementsAre(HasSubstr("snapkv")));
  EXPECT_THAT(observer.of(Topic::kInfeasible), ElementsAre(HasSubstr("at budget 8")));
  options.budgets = "8";
  EXPECT_THROW(replay(options, observer), core::InputError);
}

TEST(Replay, IsInterruptedByItsObserver) {
  const SmallTrace trace;
  InterruptingObserver observer(2);
  ReplayOptions options = replay_of(trace);
  options.out = trace.folder("out/replay.csv");
  EXPECT_THROW(replay(options, observer), core::Interrupted);
  EXPECT_FALSE(std::filesystem::exists(*options.out));
}

SweepOptions sweep_of(const SmallTrace& trace) {
  return {.traces = {trace.path()}, .policies = {.list = "snapkv(window=16),random"}, .budgets = "24,48"};
}

TEST(Sweep, InAFolderIsTheSweepInMemory) {
  const SmallTrace trace;
  Observer observer;
  SweepOptions options = sweep_of(trace);
  const SweepOutcome in_memory = sweep(options, observer);
  options.out = trace.folder("sweep");
  const SweepOutcome in_folder = sweep(options, observer);
  EXPECT_EQ(in_memory.replay.to_csv(), in_folder.replay.to_csv());
  EXPECT_EQ(in_memory.headroom->to_csv(), in_folder.headroom->to_csv());
  EXPECT_THAT(in_folder.files, Contains(trace.folder("sweep/summary.csv")));
  EXPECT_FALSE(std::filesystem::exists(trace.folder("sweep/parts")));
}

TEST(Sweep, ResumesFromItsCheckpointAfterAnInterrupt) {
  const SmallTrace trace;
  SweepOptions options = sweep_of(trace);
  Observer silent;
  const std::string whole = sweep(options, silent).replay.to_csv();
  options.out = trace.folder("sweep");
  // A prompt has two layers, and prompts may run at once: after five layers one of the three is finished.
  InterruptingObserver interrupting(5);
  EXPECT_THROW(sweep(options, interrupting), core::Interrupted);
  EXPECT_THAT(interrupting.of(Topic::kInterrupted), ElementsAre(HasSubstr("parts")));
  RecordingObserver observer;
  EXPECT_EQ(sweep(options, observer).replay.to_csv(), whole);
  EXPECT_THAT(observer.of(Topic::kResuming), SizeIs(1));
  EXPECT_LT(observer.stages.size(), 6U);
}

TEST(Sweep, TunesOnOneHalfOfThePrompts) {
  const SmallTrace trace;
  Observer observer;
  SweepOptions options = sweep_of(trace);
  options.tune = "kernel=3|7";
  options.headroom = false;
  const SweepOutcome outcome = sweep(options, observer);
  ASSERT_TRUE(outcome.tuning);
  EXPECT_EQ(outcome.tuning->rows(), 2U);  // budgets, of the one policy with a kernel
  EXPECT_EQ(outcome.summary.rows(), 2U * 2);
  EXPECT_FALSE(outcome.headroom);
}

TEST(Sweep, ProtectsInEveryCompositionOfTheMatrix) {
  const SmallTrace trace;
  Observer observer;
  SweepOptions options = sweep_of(trace);
  options.policies = {.protect = "sinks=2,window=8", .policies = sim::make_policies("random")};
  options.matrix = true;
  options.headroom = false;
  const SweepOutcome outcome = sweep(options, observer);
  const std::size_t policy = outcome.replay.column("policy");
  const std::size_t protection = outcome.replay.column("protection");
  std::set<std::string> of_compositions;
  for (std::size_t row = 0; row < outcome.replay.rows(); ++row) {
    if (outcome.replay.text(row, policy) == "compose") of_compositions.insert(outcome.replay.text(row, protection));
  }
  EXPECT_THAT(of_compositions, ElementsAre("sinks=2,recent=8"));
}

TEST(Sweep, TunesOnlyThePoliciesWhoseParametersAreKnown) {
  const SmallTrace trace;
  Observer observer;
  SweepOptions options = sweep_of(trace);
  sim::Policy unknown = sim::make_policy("snapkv(window=16)");
  unknown.name = "my_snapkv";  // as one with a user's own scorer has
  options.policies.policies = {unknown};
  options.tune = "kernel=3|7";
  const SweepOutcome outcome = sweep(options, observer);
  EXPECT_EQ(outcome.tuning->rows(), 2U);      // snapkv at each budget
  EXPECT_EQ(outcome.summary.rows(), 3U * 2);  // policies, budgets
  options.policies.list.clear();
  EXPECT_THROW(sweep(options, observer), core::InputError);
}

TEST(Advise, ChoosesTheCheapestRunWithinTheLoss) {
  const SmallTrace trace;
  RecordingObserver observer;
  const AdviseOutcome outcome =
      advise({.traces = {trace.path()}, .loss = 0.5, .policies = {.list = "snapkv(window=16),oracle,streaming-llm"}},
             observer);
  EXPECT_LE(outcome.run.loss.upper(), 0.5);
  EXPECT_THAT(outcome.budgets, SizeIs(2));
  EXPECT_THAT(observer.of(Topic::kLeftOut), ElementsAre(HasSubstr("oracle")));
  ASSERT_FALSE(outcome.candidates.empty());
  for (const AdvisedRun& candidate : outcome.candidates) EXPECT_GE(candidate.run.bytes, outcome.run.bytes);
  EXPECT_THAT(advice_text(outcome), HasSubstr("\nAdvice\n"));
}

TEST(Advise, TakesOneTarget) {
  const SmallTrace trace;
  Observer observer;
  EXPECT_THROW(advise({.traces = {trace.path()}}, observer), core::InputError);
  EXPECT_THROW(advise({.traces = {trace.path()}, .loss = 0.5, .bytes = "1MiB"}, observer), core::InputError);
}

TEST(Analyze, DescribesOneRecordingAndComparesTwo) {
  const SmallTrace trace;
  RecordingObserver observer;
  const AnalyzeOutcome one = analyze({.traces = {trace.path()}}, observer);
  EXPECT_EQ(one.recordings.front().tables.profile.layers.rows(), 3U * 2);
  EXPECT_FALSE(one.differences);
  const AnalyzeOutcome two = analyze({.traces = {trace.path(), trace.path()}, .out = trace.folder("two")}, observer);
  EXPECT_TRUE(two.differences);
  EXPECT_TRUE(std::filesystem::exists(trace.folder("two/b/tasks.csv")));
  EXPECT_THROW(analyze({}, observer), core::InputError);
}

TEST(Report, WritesAPageThatShowsWhatTheOracleKeeps) {
  const SmallTrace trace;
  RecordingObserver observer;
  const ReportOutcome outcome = report({.results = trace.path(),
                                        .policies = {.list = "snapkv(window=16),random,oracle"},
                                        .budgets = "24",
                                        .page = trace.folder("report.html")},
                                       observer);
  EXPECT_EQ(outcome.bytes, std::filesystem::file_size(outcome.page));
  EXPECT_THAT(observer.stages, Contains(std::string("looking at prompts")));
}

TEST(Synth, LeavesPartsThatTheSameOptionsResumeWhenInterrupted) {
  const testing::TemporaryDirectory directory;
  const SynthOptions options{.synthetic = small_synthetic(), .out = directory / "trace.h5"};
  InterruptingObserver after_three_layers(3);
  EXPECT_THAT([&] { synth(options, after_three_layers); },
              ThrowsMessage<core::Interrupted>(AllOf(HasSubstr("1 of 3 prompts"), HasSubstr("trace.h5.parts"))));
  EXPECT_FALSE(std::filesystem::exists(options.out));
  RecordingObserver observer;
  EXPECT_EQ(synth(options, observer).prompts, 3);
  EXPECT_THAT(observer.stages, SizeIs(2 * 2));
  EXPECT_THAT(trace::TraceReader(options.out).prompts(), SizeIs(3));
}

TEST(Synth, IsInterruptedWithoutAPromptToKeep) {
  const testing::TemporaryDirectory directory;
  InterruptingObserver at_once(0);
  EXPECT_THROW(synth({.synthetic = small_synthetic(), .out = directory / "trace.h5"}, at_once), core::Interrupted);
  EXPECT_FALSE(std::filesystem::exists(directory / "trace.h5"));
}

}  // namespace
}  // namespace evictlab::lab
