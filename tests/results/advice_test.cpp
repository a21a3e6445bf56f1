#include "results/advice.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::results {
namespace {

using results::Cell;
using results::Table;
using ::testing::ElementsAre;

CostedRun run(const char* policy, double bytes, double mean, double high) {
  CostedRun result;
  result.policy = policy;
  result.bytes = bytes;
  result.loss = {mean, mean, high};
  return result;
}

TEST(Advice, TheCheapestIsOfThoseWhoseIntervalMeetsTheTarget) {
  const std::vector<CostedRun> runs = {run("dear", 300, .02, .03), run("lucky", 100, .04, .07),
                                       run("good", 200, .04, .05), run("same", 200, .03, .05)};
  EXPECT_EQ(cheapest(runs, .05)->policy, "same");  // lucky's mean would do, its interval does not
  EXPECT_EQ(cheapest(runs, .07)->policy, "lucky");
  EXPECT_FALSE(cheapest(runs, .01).has_value());
}

TEST(Advice, TheLeastLossyIsOfThoseThatFit) {
  const std::vector<CostedRun> runs = {run("dear", 300, .02, .03), run("good", 200, .04, .05),
                                       run("small", 100, .04, .07)};
  EXPECT_EQ(least_lossy(runs, 250)->policy, "small");  // as good as good, and smaller
  EXPECT_EQ(least_lossy(runs, 300)->policy, "dear");
  EXPECT_FALSE(least_lossy(runs, 50).has_value());
}

// Means 1.5, 2.25, 0.25 add up to 4: the floors 1, 2, 0 leave one, which the largest remainder gets.
TEST(Advice, BudgetsAreRoundedTogether) {
  EXPECT_THAT(rounded_together({1.5, 2.25, .25}), ElementsAre(2, 2, 0));
  EXPECT_THAT(rounded_together({1.5, 1.5}), ElementsAre(2, 1));  // equal remainders: the earlier
  EXPECT_THAT(rounded_together({3.0, 4.0}), ElementsAre(3, 4));
}

TEST(Advice, CountsRunsThatAllPromptsCanServeAndRefusesWhatWasNotMeasured) {
  Table replay({"prompt", "policy", "parameters", "budget_requested", "slots_held", "bytes", "layer", "retained_mass",
                "relative_loss"});
  const auto add = [&](const char* prompt, const char* policy, Cell slots, Cell mass) {
    replay.add_row({prompt, policy, "", std::int64_t{64}, slots, std::int64_t{640}, "all", mass, Cell()});
  };
  add("a", "everywhere", 64.0, .9);
  add("b", "everywhere", 60.0, .7);
  add("a", "sometimes", 64.0, .9);
  add("b", "sometimes", Cell(), Cell());
  const auto runs = costed_runs(replay, Measure::kRetainedMass);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].policy, "everywhere");
  EXPECT_DOUBLE_EQ(runs[0].slots, 62.0);
  EXPECT_NEAR(runs[0].loss.mean, .2, 1e-12);
  EXPECT_EQ(runs[0].prompts, 2U);
  EXPECT_THROW(costed_runs(replay, Measure::kRelativeLoss), results::TableError);
}

}  // namespace
}  // namespace evictlab::results
