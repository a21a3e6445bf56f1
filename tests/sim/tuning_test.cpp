#include "sim/replay/tuning.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sim/policy/registry.hpp"
#include "sim/policy/types.hpp"

namespace evictlab::sim {
namespace {

using results::Table;
using ::testing::ElementsAre;

TEST(Grid, IsListsAndRanges) {
  const auto grid = parse_grid("tau1=0.5|1|2, tau2=1:4:log3,gamma=0:200:lin3");
  ASSERT_EQ(grid.size(), 3U);
  EXPECT_THAT(grid[0].values, ElementsAre("0.5", "1", "2"));
  EXPECT_THAT(grid[1].values, ElementsAre("1", "2", "4"));
  EXPECT_THAT(grid[2].values, ElementsAre("0", "100", "200"));
}

TEST(Grid, RefusesWhatMakesNoSense) {
  for (const char* text : {"", "tau1", "=1", "tau1=", "tau1=1:2", "tau1=2:1:lin3", "tau1=0:1:log3", "tau1=1:2:log1",
                           "tau1=1:2:exp3", "tau1=1,tau1=2", "a=1:1000000:log4096,b=1|2"}) {
    EXPECT_THROW(parse_grid(text), PolicyError) << text;
  }
}

TEST(TunedPolicies, AreThoseThatHaveAllParametersWithEveryCombinationButTheGivenOne) {
  const auto specs = parse_policies("snapkv,cake(tau1=1,tau2=2)");
  const auto tuned = tuned_policies(specs, parse_grid("tau1=1|2,tau2=1|2"));
  ASSERT_EQ(tuned.size(), 1U);
  EXPECT_EQ(tuned.front().given.name, "cake");
  EXPECT_EQ(tuned.front().candidates.size(), 3U);
  EXPECT_THROW(tuned_policies(specs, parse_grid("tau1=1|x,tau2=1")), PolicyError);
}

// Prompts a b of one task, c d of another: a and c choose, b and d tell. On a and c the candidate retains
// (.6 + .4) / 2 = .5 against the given policy's (.5 + .3) / 2 = .4; on b and d .2 against .3.
TEST(Tuning, ChoosesOnEverySecondPromptOfEachTaskAndTellsOnTheOthers) {
  const auto tuned = tuned_policies(parse_policies("cake(tau1=1,tau2=1)"), parse_grid("tau1=2"));
  Table replay({"prompt", "task", "policy", "parameters", "budget_requested", "slots_held", "layer", "retained_mass"});
  const auto add = [&](const char* prompt, const char* task, const Policy& policy, double mass) {
    replay.add_row({prompt, task, policy.name, policy.parameters, std::int64_t{64}, 64.0, "all", mass});
    replay.add_row(
        {prompt, task, policy.name, policy.parameters, std::int64_t{64}, 64.0, "0", 0.9});  // is not looked at
  };
  const Policy& given = tuned.front().given;
  const Policy& other = tuned.front().candidates.front();
  const std::vector<std::tuple<const char*, const char*, double, double>> prompts = {
      {"a", "needle", .5, .6}, {"b", "needle", .3, .1}, {"c", "kv", .3, .4}, {"d", "kv", .3, .3}};
  for (const auto& [prompt, task, of_given, of_other] : prompts) {
    add(prompt, task, given, of_given);
    add(prompt, task, other, of_other);
  }
  const Table table = tuning(replay, tuned);
  ASSERT_EQ(table.rows(), 1U);
  EXPECT_EQ(table.text(0, table.column("parameters")), other.parameters);
  const auto value = [&](const char* column) { return *table.number(0, table.column(column)); };
  EXPECT_EQ(value("prompts_chosen_on"), 2);
  EXPECT_DOUBLE_EQ(value("retained_mass_chosen_on"), .5);
  EXPECT_DOUBLE_EQ(value("retained_mass"), .2);
  EXPECT_DOUBLE_EQ(value("given_retained_mass"), .3);
  EXPECT_NEAR(value("gain"), -.1, 1e-12);
  EXPECT_LE(value("gain_low"), value("gain"));
  EXPECT_EQ(value("slots_held"), 64.0);
}

// Given, the policy holds 64; with tau1=2 it holds 96 at 64 and retains more, 48 at 32: with 64 slots 0.5455 of 0.6.
TEST(Tuning, ComparesParametersAtEqualHeldSlots) {
  const auto tuned = tuned_policies(parse_policies("cake(tau1=1,tau2=1)"), parse_grid("tau1=2"));
  Table replay({"prompt", "task", "policy", "parameters", "budget_requested", "slots_held", "layer", "retained_mass"});
  const auto add = [&](const Policy& policy, std::int64_t budget, double held, double mass) {
    for (const char* prompt : {"a", "b"}) {
      replay.add_row({prompt, "", policy.name, policy.parameters, budget, held, "all", mass});
    }
  };
  add(tuned.front().given, 64, 64, 0.6);
  add(tuned.front().candidates.front(), 64, 96, 0.68);
  add(tuned.front().candidates.front(), 32, 48, 0.45);
  const Table table = tuning(replay, tuned);
  ASSERT_EQ(table.rows(), 1U);
  EXPECT_EQ(table.text(0, table.column("parameters")), tuned.front().given.parameters);
  EXPECT_EQ(table.text(0, table.column("slots_compared")), "64");
  EXPECT_EQ(table.text(0, table.column("gain_low")), "") << "one prompt is held out: no interval";
}

TEST(Tuning, DoesNotChooseWhatCannotServeAllPrompts) {
  const auto tuned = tuned_policies(parse_policies("cake(tau1=1,tau2=1)"), parse_grid("tau1=2"));
  Table replay({"prompt", "task", "policy", "parameters", "budget_requested", "slots_held", "layer", "retained_mass"});
  for (const char* prompt : {"a", "b"}) {
    const Policy& given = tuned.front().given;
    replay.add_row({prompt, "", given.name, given.parameters, std::int64_t{64}, 64.0, "all", 0.5});
    const Policy& other = tuned.front().candidates.front();
    const bool infeasible = std::string(prompt) == "b";
    replay.add_row({prompt, "", other.name, other.parameters, std::int64_t{64}, infeasible ? results::Cell() : 64.0,
                    "all", infeasible ? results::Cell() : 0.9});
  }
  const Table table = tuning(replay, tuned);
  ASSERT_EQ(table.rows(), 1U);
  EXPECT_EQ(table.text(0, table.column("parameters")), tuned.front().given.parameters);
}

}  // namespace
}  // namespace evictlab::sim
