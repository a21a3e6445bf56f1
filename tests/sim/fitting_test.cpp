// Fitting a policy to what recorded heads lose.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "core/parallel.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/fitting.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

namespace evictlab::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

const trace::MemoryTrace& recording() {
  static const trace::MemoryTrace trace = trace::synthesize({.prompts = 3, .layers = 4, .length = 120, .future = 8, .kinds = {}});
  return trace;
}

std::vector<FitScorer> scorers(std::string_view list) {
  std::vector<FitScorer> all;
  for (const Policy& policy : make_policies(list)) all.push_back(fit_scorer(policy));
  return all;
}

LossCurves curves_of(std::string_view policies, LossUnit unit) {
  const std::vector<Index> prompts = {0, 1, 2};
  return measure_loss_curves(recording(), prompts, scorers(policies), unit, nullptr);
}

// Index of the first candidate with this protection.
std::size_t candidate(const LossCurves& curves, Protection protection) {
  const auto found = std::ranges::find(curves.candidates, protection, &FitCandidate::protection);
  return static_cast<std::size_t>(found - curves.candidates.begin());
}

double replayed_measure(const ReplayResult& result, std::size_t row, const char* measure) {
  return result.replay.number(row, result.replay.column(measure)).value();
}

TEST(LossCurves, AreWhatReplayMeasuresOfEvictingInOneHeadAlone) {
  for (const auto& [unit, measure, tolerance] :
       {std::tuple(LossUnit::kSquared, "squared_error", 1e-4),
        std::tuple(LossUnit::kOutput, "output_relative_squared_error", 1e-4)}) {
    const LossCurves curves = curves_of("h2o", unit);
    const std::size_t protection = candidate(curves, {0, 32});
    for (const Index layer : {0, 3}) {
      for (const Index g : {0, 1}) {
        const std::string text = "h2o(evict_layer=" + std::to_string(layer) + ",evict_head=" + std::to_string(g) + ")";
        for (const Index count : {48, 96}) {
          const ReplayResult result =
              replay(recording(), make_policies(text), parse_budgets(std::to_string(count)));
          std::size_t prompt = 0;
          for (std::size_t row = 0; row < result.replay.rows(); ++row) {
            if (result.replay.text(row, result.replay.column("layer")) != std::to_string(layer)) continue;
            const PromptCurves& own = curves.prompts[prompt++];
            const auto at = std::ranges::find(curves.counts, count) - curves.counts.begin();
            const double expected = replayed_measure(result, row, measure);
            const double loss =
                curves.curve(own, static_cast<std::size_t>(layer * 2 + g), protection)[static_cast<std::size_t>(at)];
            EXPECT_NEAR(loss, expected, tolerance * expected + 1e-9) << text << " " << count;
          }
          EXPECT_EQ(prompt, 3U);
        }
      }
    }
  }
}

TEST(LossCurves, OfMassAreTheShareOfTheFuturesAttentionThatIsLost) {
  const LossCurves curves = curves_of("h2o", LossUnit::kMass);
  const std::size_t head = 5;
  const std::span losses = curves.curve(curves.prompts.front(), head, candidate(curves, {0, 0}));
  EXPECT_GT(losses.front(), 0.0F);
  EXPECT_LE(losses.front(), 1.0F);
  EXPECT_TRUE(std::ranges::is_sorted(losses, std::greater{}));
  EXPECT_EQ(losses.back(), 0.0F);  // all of 120 are held at 128
}

TEST(LossCurves, DoNotDependOnThreads) {
  core::set_threads(1);
  const LossCurves one = curves_of("h2o,snapkv(window=16)", LossUnit::kOutput);
  core::set_threads(4);
  const LossCurves four = curves_of("h2o,snapkv(window=16)", LossUnit::kOutput);
  core::set_threads(0);
  for (std::size_t p = 0; p < one.prompts.size(); ++p) EXPECT_EQ(one.prompts[p].losses, four.prompts[p].losses);
}

TEST(LossCurves, RefuseWhatTheRecordingLacks) {
  const trace::MemoryTrace summary = trace::synthesize({.prompts = 1, .length = 120, .tier = trace::Tier::kSummary, .kinds = {}});
  const std::vector<Index> first = {0};
  EXPECT_THAT([&] { measure_loss_curves(summary, first, scorers("h2o"), LossUnit::kOutput, nullptr); },
              ThrowsMessage<PolicyError>(HasSubstr("--unit mass")));
  EXPECT_NO_THROW(measure_loss_curves(summary, first, scorers("h2o"), LossUnit::kMass, nullptr));
  EXPECT_THAT([] { curves_of("snapkv(window=64)", LossUnit::kOutput); },
              ThrowsMessage<PolicyError>(HasSubstr("last 64 prompt queries")));
  EXPECT_THAT([] { scorers("protect-only"); }, ThrowsMessage<ImpossiblePolicy>(HasSubstr("no scorer")));
  EXPECT_THAT([] { scorers("oracle"); }, ThrowsMessage<ImpossiblePolicy>(HasSubstr("reads the future")));
}

// Heads with curves a / count: what they lose, by head, document and candidate, is known exactly.
LossCurves known_curves(const std::vector<std::vector<double>>& sizes, std::size_t scorer_count,
                        const std::vector<std::string>& tasks) {
  LossCurves curves{.layers = 2, .kv_heads = 1, .candidates = {}, .counts = fit_counts(200), .prompts = {}};
  for (std::size_t s = 0; s < scorer_count; ++s) curves.candidates.push_back({s, {}});
  for (std::size_t p = 0; p < sizes.size(); ++p) {
    PromptCurves prompt{std::to_string(p), std::to_string(p), tasks[p], 200, {200, 200}, {}};
    for (const double size : sizes[p]) {  // [heads][scorers]
      for (const Index count : curves.counts) {
        prompt.losses.push_back(count < 200 ? static_cast<float>(size / static_cast<double>(count)) : 0.0F);
      }
    }
    curves.prompts.push_back(std::move(prompt));
  }
  return curves;
}

const trace::ModelInfo& two_layers() {
  static const trace::ModelInfo model = [] {
    trace::ModelInfo info;
    info.layers = 2;
    info.kv_heads = 1;
    info.sliding_windows = {0, 0};
    return info;
  }();
  return model;
}

TEST(Fit, GivesTheHeadThatLosesMoreMoreAndLosesLessThanEqualBudgetsWhatIsHeldOut) {
  const LossCurves curves = known_curves({{1, 16}, {1.2, 14}, {.9, 18}, {1.1, 15}}, 1, {"a", "a", "b", "b"});
  const Fit fit = fit_policy(curves, scorers("h2o"), two_layers(), {.slots = {40}});
  EXPECT_TRUE(fit.cross_validated);
  EXPECT_EQ(fit.fitted.uniform_weight, 0.0);
  const std::vector<Index> budgets = fitted_budgets(fit.fitted, 200, 40);
  EXPECT_EQ(budgets[0] + budgets[1], 80);
  EXPECT_GT(budgets[1], 2 * budgets[0]);
  EXPECT_LT(fit.fitted.provenance.held_out_loss.front(), fit.fitted.provenance.uniform_loss.front());
}

TEST(Fit, KeepsBudgetsEqualWhereDocumentsDisagreeAboutHeads) {
  const LossCurves curves = known_curves({{1, 30}, {30, 1}, {1, 30}, {30, 1}}, 1, {"a", "a", "a", "a"});
  // Two of four documents pull each way: what three say is wrong for the fourth.
  const Fit fit = fit_policy(curves, scorers("h2o"), two_layers(), {.slots = {40}});
  EXPECT_GE(fit.fitted.uniform_weight, 0.75);
}

TEST(Fit, ChoosesTheScorerByItsWorstTaskOrByTheMean) {
  // Scorer 0 is twice as good on three tasks and three times as bad on the fourth.
  const std::vector<std::vector<double>> sizes = {{1, 2, 1, 2}, {1, 2, 1, 2}, {1, 2, 1, 2}, {6, 2, 6, 2}};
  const LossCurves curves = known_curves(sizes, 2, {"a", "b", "c", "d"});
  const auto chosen = [&](TaskRule rule) {
    const Fit fit = fit_policy(curves, scorers("h2o,tova"), two_layers(), {.slots = {40}, .tasks = rule});
    EXPECT_EQ(fit.choice.level, ScorerLevel::kModel);
    return fit.choice.scorer;
  };
  EXPECT_EQ(chosen(TaskRule::kWorst), 1U);
  EXPECT_EQ(chosen(TaskRule::kMean), 0U);
}

TEST(Fit, GivesEveryLayerItsOwnScorerWhereThatHoldsOnOtherTasks) {
  // Layer 0 is served by scorer 0, layer 1 by scorer 1, on every task.
  const std::vector<std::vector<double>> sizes(4, {1, 9, 9, 1});
  const LossCurves curves = known_curves(sizes, 2, {"a", "b", "c", "d"});
  const Fit fit = fit_policy(curves, scorers("h2o,tova"), two_layers(), {.slots = {40}});
  EXPECT_EQ(fit.choice.level, ScorerLevel::kLayer);
  EXPECT_EQ(fit.fitted.heads[0][0].scorer, 0U);
  EXPECT_EQ(fit.fitted.heads[1][0].scorer, 1U);
}

TEST(Fit, OfOneDocumentHoldsNothingOutAndSaysSo) {
  const Fit fit = fit_policy(known_curves({{1, 16}}, 1, {"a"}), scorers("h2o"), two_layers(), {.slots = {40}});
  EXPECT_FALSE(fit.cross_validated);
  EXPECT_TRUE(fit.trials.empty());
  EXPECT_TRUE(fit.fitted.provenance.held_out_loss.empty());
  EXPECT_THROW(fit_policy({}, scorers("h2o"), two_layers(), {.slots = {40}}), PolicyError);
}

TEST(Fit, OfARecordingLosesLessThanEqualBudgetsOfTheSameScorerOnWhatItWasFittedTo) {
  const LossCurves curves = curves_of("h2o", LossUnit::kOutput);
  FitSettings settings{.slots = {24, 48}};
  const Fit fit = fit_policy(curves, scorers("h2o"), recording().model(), settings);
  FittedPolicy equal = fit.fitted;
  equal.uniform_weight = 1.0;
  std::vector<std::size_t> candidates;
  for (const auto& layer : fit.fitted.heads) {
    for (const FittedHead& head : layer) candidates.push_back(candidate(curves, head.protection));
  }
  for (const double slots : settings.slots) {
    double own = 0.0;
    double uniform = 0.0;
    for (const PromptCurves& prompt : curves.prompts) {
      own += loss_on(curves, prompt, candidates, fitted_budgets(fit.fitted, prompt.length, slots));
      uniform += loss_on(curves, prompt, candidates, fitted_budgets(equal, prompt.length, slots));
    }
    EXPECT_LT(own, uniform) << slots;
  }
}

}  // namespace
}  // namespace evictlab::sim
