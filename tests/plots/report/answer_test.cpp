#include "plots/report/answer.hpp"

#include <gtest/gtest.h>

namespace evictlab::plots {
namespace {

results::Table replay(const std::string& rows) {
  return results::Table::from_csv("prompt,policy,parameters,budget_requested,slots_held,layer,retained_mass\n" + rows,
                                  "replay.csv");
}

TEST(BudgetAnswers, NameBestAndRunnerUpByTheMeanOverPrompts) {
  // cake: 0.7 and 0.9, so 0.8; snapkv 0.6 and 0.8, so 0.7: 0.1 better on each prompt. Rows of layers are not asked.
  const auto answers =
      budget_answers(replay("a,cake,,64,60,0,0.1\na,cake,,64,60,all,0.7\nb,cake,,64,60,all,0.9\n"
                            "a,snapkv,,64,60,all,0.6\nb,snapkv,,64,60,all,0.8\n"
                            "a,oracle,,64,60,all,0.9\nb,oracle,,64,60,all,1\na,full,,64,60,all,1\nb,full,,64,60,all,1\n"
                            "a,random,,64,60,all,0.1\nb,random,,64,60,all,0.1\n"));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].contenders[0].label, "cake");
  EXPECT_EQ(answers[0].contenders[1].label, "snapkv");
  EXPECT_EQ(answers[0].prompts, 2U);
  EXPECT_NEAR(answers[0].contenders[0].retained.mean, 0.8, 1e-12);
  EXPECT_NEAR(answers[0].contenders[1].behind.mean, 0.1, 1e-12);
  EXPECT_NEAR(answers[0].below_oracle.mean, 0.15, 1e-12);
  EXPECT_THAT(sentence(answers[0]), testing::HasSubstr("At 64 slots, cake keeps 80.0 % of the attention"));
  EXPECT_THAT(sentence(answers[0]), testing::HasSubstr("It leads snapkv by 10.0 points"));
  EXPECT_THAT(sentence(answers[0]), testing::Not(testing::HasSubstr("as good")));
}

TEST(BudgetAnswers, SaysWhenNeitherRunnerUpNorControlDiffers) {
  // Differences to both are +0.2 and -0.1: the interval of their mean holds 0.
  const auto answers = budget_answers(
      replay("a,cake,,64,60,all,0.8\nb,cake,,64,60,all,0.5\na,snapkv,,64,60,all,0.6\nb,snapkv,,64,60,all,0.6\n"
             "a,random,,64,60,all,0.6\nb,random,,64,60,all,0.6\n"));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_THAT(sentence(answers[0]), testing::HasSubstr("does not differ from snapkv within the paired interval"));
  EXPECT_THAT(sentence(answers[0]), testing::HasSubstr("The control random is as good"));
}

TEST(BudgetAnswers, LeavesOutPoliciesThatWereNotMeasuredOnEveryPrompt) {
  const auto answers =
      budget_answers(replay("a,cake,,64,60,all,0.9\na,snapkv,,64,60,all,0.5\nb,snapkv,,64,60,all,0.5\n"));
  ASSERT_EQ(answers.size(), 1U);
  ASSERT_EQ(answers[0].contenders.size(), 1U);
  EXPECT_EQ(answers[0].contenders[0].label, "snapkv");
}

TEST(BudgetAnswers, AreNoneWhenOnlyControlsWereReplayed) {
  EXPECT_TRUE(budget_answers(replay("a,random,,64,60,all,0.9\na,full,,64,60,all,1\n")).empty());
}

}  // namespace
}  // namespace evictlab::plots
