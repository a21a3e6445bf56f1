#include "results/answer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::results {
namespace {

Table replay(const std::string& rows) {
  return Table::from_csv("prompt,task,policy,parameters,role,budget_requested,slots_held,layer,retained_mass\n" + rows,
                         "replay.csv");
}

TEST(BudgetAnswers, NameBestAndRunnerUpByTheMeanOverPrompts) {
  // cake: 0.7 and 0.9, so 0.8; snapkv 0.6 and 0.8, so 0.7: 0.1 better on each prompt. Rows of layers are not asked.
  const auto answers = budget_answers(
      replay("a,t,cake,,method,64,60,0,0.1\na,t,cake,,method,64,60,all,0.7\nb,t,cake,,method,64,60,all,0.9\n"
             "a,t,snapkv,,method,64,60,all,0.6\nb,t,snapkv,,method,64,60,all,0.8\n"
             "a,t,oracle,,ceiling,64,60,all,0.9\nb,t,oracle,,ceiling,64,60,all,1\n"
             "a,t,full,,ceiling,64,60,all,1\nb,t,full,,ceiling,64,60,all,1\n"
             "a,t,random,,control,64,60,all,0.1\nb,t,random,,control,64,60,all,0.1\n"));
  ASSERT_EQ(answers.size(), 1U);
  ASSERT_EQ(answers[0].contenders.size(), 2U);
  EXPECT_EQ(answers[0].contenders[0].label, "cake");
  EXPECT_EQ(answers[0].contenders[1].label, "snapkv");
  EXPECT_EQ(answers[0].prompts, 2U);
  EXPECT_NEAR(answers[0].contenders[0].value.mean, 0.8, 1e-12);
  EXPECT_NEAR(answers[0].contenders[0].held, 60, 1e-12);
  EXPECT_NEAR(answers[0].contenders[1].behind.mean, 0.1, 1e-12);
  EXPECT_EQ(answers[0].ceiling, "oracle") << "the full cache evicts nothing";
  EXPECT_NEAR(answers[0].below_ceiling.mean, 0.15, 1e-12);
  EXPECT_EQ(answers[0].control, "random");
  EXPECT_NEAR(answers[0].over_control.mean, 0.7, 1e-12);
}

TEST(BudgetAnswers, NeverNameWhatReadsTheFuture) {
  // The composition reads the future and is best, before the method and the oracle.
  const auto answers =
      budget_answers(replay("a,t,compose,\"scorer=future,selector=top\",ceiling,64,64,all,0.95\n"
                            "a,t,oracle,,ceiling,64,64,all,0.9\na,t,snapkv,,method,64,64,all,0.6\n"
                            "a,t,compose,\"scorer=window,selector=top\",method,64,64,all,0.5\n"));
  ASSERT_EQ(answers.size(), 1U);
  ASSERT_EQ(answers[0].contenders.size(), 2U);
  EXPECT_EQ(answers[0].contenders[0].label, "snapkv");
  EXPECT_EQ(answers[0].contenders[1].label, "compose(scorer=window)");
  EXPECT_EQ(answers[0].ceiling, "compose(scorer=future)");
  EXPECT_NEAR(answers[0].below_ceiling.mean, 0.35, 1e-12);
}

TEST(BudgetAnswers, AreInOrderOfTheSlotsHeldWhateverTheUnitOfTheBudget) {
  const auto answers = budget_answers(
      replay("a,t,cake,,method,128,128,all,0.9\na,t,cake,,method,64,64,all,0.8\na,t,cake,,method,0.25,50,all,0.7\n"
             "a,t,cake,,method,96KiB,96,all,0.85\n"));
  std::vector<std::string> budgets;
  for (const BudgetAnswer& answer : answers) budgets.push_back(answer.budget);
  EXPECT_THAT(budgets, ::testing::ElementsAre("0.25", "64", "96KiB", "128"));
}

TEST(BudgetAnswers, LeaveOutPoliciesThatWereNotMeasuredOnEveryPrompt) {
  const auto answers = budget_answers(
      replay("a,t,cake,,method,64,60,all,0.9\na,t,snapkv,,method,64,60,all,0.5\nb,t,snapkv,,method,64,60,all,0.5\n"));
  ASSERT_EQ(answers.size(), 1U);
  ASSERT_EQ(answers[0].contenders.size(), 1U);
  EXPECT_EQ(answers[0].contenders[0].label, "snapkv");
}

// At a budget of 64 greedy holds 96 and retains most; with 64 slots it is behind (see the summary's test).
TEST(BudgetAnswers, AreAtEqualHeldSlots) {
  const auto answers =
      budget_answers(replay("a,t,snapkv,,method,32,32,all,0.4\na,t,snapkv,,method,64,64,all,0.6\n"
                            "a,t,greedy,,method,32,48,all,0.45\na,t,greedy,,method,64,96,all,0.68\n"));
  ASSERT_EQ(answers.size(), 2U);
  ASSERT_EQ(answers[0].contenders.size(), 1U);
  EXPECT_EQ(answers[0].contenders[0].label, "snapkv");
  ASSERT_EQ(answers[0].left_out.size(), 1U) << "with 32 slots nothing is known of it";
  EXPECT_EQ(answers[0].left_out[0].label, "greedy");
  EXPECT_EQ(answers[0].left_out[0].held, 48);
  ASSERT_EQ(answers[1].contenders.size(), 2U);
  EXPECT_EQ(answers[1].slots, 64);
  EXPECT_EQ(answers[1].contenders[0].label, "snapkv");
  EXPECT_EQ(answers[1].contenders[1].label, "greedy");
  EXPECT_EQ(answers[1].contenders[1].held, 96);
  EXPECT_NEAR(answers[1].contenders[1].value.mean, 0.5455, 1e-4);
  EXPECT_NEAR(answers[1].contenders[1].behind.mean, 0.0545, 1e-4);
  EXPECT_FALSE(answers[1].contenders[1].behind.low) << "one prompt has no interval";
}

TEST(BudgetAnswers, AreNoneWhenOnlyControlsAndCeilingsWereReplayed) {
  EXPECT_TRUE(budget_answers(replay("a,t,random,,control,64,60,all,0.9\na,t,full,,ceiling,64,60,all,1\n")).empty());
}

}  // namespace
}  // namespace evictlab::results
