#include "plots/report/sections.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::plots {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

results::Table table(const std::string& csv) { return results::Table::from_csv(csv, "table.csv"); }

results::Table tasks(const std::string& rows) {
  std::string csv = "task,table,quantity,layer,mean,low,high,prompts\n";
  csv += rows;
  return table(csv);
}

TEST(PatternFindings, NameTheLayersThatStandOut) {
  const auto sentences = pattern_findings(
      {{"attention", table("prompt,task,layer,head,kind\na,t,0,0,local\nb,t,0,0,local\na,t,0,1,retrieval\n"
                           "b,t,0,1,retrieval\n")},
       {"tasks", tasks("all,layers,dispersion_normalized,0,0.9,0.9,0.9,2\n"
                       "all,layers,dispersion_normalized,1,0.7,0.7,0.7,2\n"
                       "all,layers,dispersion_normalized,2,0.1,0.1,0.1,2\n"
                       "all,layers,shift_normalized,0,0.1,0.1,0.1,2\n"
                       "all,layers,shift_normalized,2,0.5,0.5,0.5,2\n"
                       "all,attention,sink_mass,1,0.25,0.25,0.25,2\n")}});
  ASSERT_THAT(sentences, SizeIs(3));
  EXPECT_THAT(sentences[0], HasSubstr("most dispersed in layers 0, 1"));
  EXPECT_THAT(sentences[0], HasSubstr("shifts most from query to query in layer 2"));
  EXPECT_THAT(sentences[1], HasSubstr("at most 25 % of a layer's attention, in layer 1"));
  EXPECT_THAT(sentences[2], HasSubstr("Of 2 heads, by rule of thumb: 1 local, 1 retrieval."));
}

TEST(TaskFindings, SayHowMuchOfTheBudgetWouldMoveBetweenTasks) {
  // kv: 0.75 to layer 0; copy: 0.25: half the budget moves.
  const auto sentences = task_findings({{"tasks", tasks("all,layers,preference_share,0,0.5,0.5,0.5,2\n"
                                                        "kv,layers,preference_share,0,0.75,0.75,0.75,1\n"
                                                        "kv,layers,preference_share,1,0.25,0.25,0.25,1\n"
                                                        "copy,layers,preference_share,0,0.25,0.25,0.25,1\n"
                                                        "copy,layers,preference_share,1,0.75,0.75,0.75,1\n")}});
  ASSERT_THAT(sentences, SizeIs(1));
  EXPECT_THAT(sentences[0], HasSubstr("CAKE would give most to layer 0 for kv; layer 1 for copy"));
  EXPECT_THAT(sentences[0], HasSubstr("50 % of the budget would move"));
}

TEST(TaskFindings, NeedTwoTasks) {
  EXPECT_THAT(task_findings({{"tasks", tasks("kv,layers,preference_share,0,1,1,1,1\n")}}), IsEmpty());
}

TEST(SensitivityFindings, NameTheLayersThatCostMostAndWhatPutsThemInThatOrder) {
  // The costliest three of four layers: (4 + 3 + 2) / 10.
  const results::Table summary = table(
      "policy,parameters,budget_requested,task,layer,head,prompts,kl,relative_squared_error,squared_error\n"
      "snapkv,,64,all,0,all,2,0.2,1,1\nsnapkv,,64,all,1,all,2,0.4,1,1\nsnapkv,,64,all,2,all,2,0.1,1,1\n"
      "snapkv,,64,all,3,all,2,0.3,1,1\nsnapkv,,64,all,2,0,2,9,1,1\nsnapkv,,64,copy,2,all,2,9,1,1\n");
  const auto sentences = sensitivity_findings({{"sensitivity_summary", summary}});
  ASSERT_THAT(sentences, SizeIs(1));
  EXPECT_THAT(sentences[0], HasSubstr("snapkv at 64"));
  EXPECT_THAT(sentences[0], HasSubstr("most in layers 1, 3, 0: 90 % of the KL divergence that all 4 layers cost"));

  const results::Table agreement = table(
      "policy,parameters,budget_requested,sites,target,quantity,tau_b,tau_b_low,tau_b_high,ceiling\n"
      "snapkv,,64,layers,kl,cake_share,0.5,0.25,0.75,0.875\n"
      "snapkv,,64,layers,relative_squared_error,cake_share,0.125,,,\nsnapkv,,64,heads,kl,sink_mass,0.125,,,\n");
  const SmallTable orders = sensitivity_orders({{"sensitivity_agreement", agreement}});
  EXPECT_THAT(orders.rows, ElementsAre(ElementsAre("cake_share", "snapkv", "0.50", "0.25", "0.75", "0.88")));
  EXPECT_THAT(sensitivity_findings({}), IsEmpty());
}

TEST(BudgetFindings, TellUnevenPoliciesAndWhatTasksMove) {
  const char* const budgets =
      "prompt,policy,parameters,budget_requested,layer,head,slots\n"
      "a,cake,,64,0,0,96\na,cake,,64,1,0,32\nb,cake,,64,0,0,64\nb,cake,,64,1,0,64\n"
      "a,snapkv,,64,0,0,64\na,snapkv,,64,1,0,64\nb,snapkv,,64,0,0,64\nb,snapkv,,64,1,0,64\n";
  const SmallTable found =
      budget_findings({{"replay", table("prompt,task\na,kv\nb,copy\n")}, {"budgets", table(budgets)}});
  // Shares of layer 0: 0.75 and 0.5, so 0.625 = 1.25 times even; between the tasks a quarter moves. snapkv is even.
  ASSERT_THAT(found.rows, SizeIs(1));
  EXPECT_THAT(found.rows[0], ElementsAre("cake", "0", "1.25", "1", "0.75", "25.0"));
}

TEST(NeedleFindings, TellWhereNeedlesAreLost) {
  const char* const spans =
      "prompt,task,prompt_length,depth,policy,parameters,budget_requested,layer,span,retained\n"
      "a,needle,100,0.1,h2o,,64,0,needle,0\na,needle,100,0.1,h2o,,64,1,needle,0.5\na,needle,100,0.1,h2o,,64,all,needle,"
      "0.25\n"
      "b,needle,100,0.9,h2o,,64,0,needle,0.5\nb,needle,100,0.9,h2o,,64,1,needle,1\nb,needle,100,0.9,h2o,,64,all,needle,"
      "0.75\n"
      "b,needle,100,0.9,h2o,,64,all,question,1\n";
  const SmallTable found = needle_findings({{"spans", table(spans)}});
  ASSERT_THAT(found.rows, SizeIs(1));
  EXPECT_THAT(found.rows[0], ElementsAre("h2o", "50", "25", "-", "75", "0", "25"));
}

TEST(Sentence, NamesTheBestItsCeilingAndTheRunnerUpThatItLeads) {
  const std::string text =
      sentence({.budget = "64",
                .prompts = 2,
                .slots = 60,
                .contenders = {{"cake", 60, {0.8, 0.7, 0.9}, {}}, {"snapkv", 60, {0.7, 0.6, 0.8}, {0.1, 0.05, 0.15}}},
                .control = "random",
                .over_control = {0.5, 0.4, 0.6},
                .ceiling = "oracle",
                .below_ceiling = {0.15, 0.1, 0.2}});
  EXPECT_EQ(text,
            "At 60 slots, cake keeps 80.0 % of the attention (95 % interval 70.0 % to 90.0 %; 2 prompts), "
            "15.0 points (95 % interval 10.0 to 20.0) below the ceiling oracle. "
            "It leads snapkv by 10.0 points (95 % interval 5.0 to 15.0).");
}

TEST(Sentence, SaysWhenTheBestIsAboveTheCeiling) {
  const std::string text = sentence({.budget = "64",
                                     .prompts = 2,
                                     .contenders = {{"headkv", 60, {0.8, 0.7, 0.9}, {}}},
                                     .ceiling = "oracle",
                                     .below_ceiling = {-0.023, -0.03, -0.01}});
  EXPECT_THAT(text,
              HasSubstr("2.3 points (95 % interval 1.0 to 3.0) above the ceiling oracle (equal counts per head)."));
}

TEST(Sentence, SaysWhenNeitherRunnerUpNorControlDiffers) {
  const std::string text =
      sentence({.budget = "64",
                .prompts = 2,
                .slots = 60,
                .contenders = {{"cake", 60, {0.65, 0.5, 0.8}, {}}, {"snapkv", 60, {0.6, 0.6, 0.6}, {0.05, -0.1, 0.2}}},
                .control = "random",
                .over_control = {0.05, -0.1, 0.2}});
  EXPECT_THAT(text, HasSubstr("does not differ from snapkv within the paired interval"));
  EXPECT_THAT(text, HasSubstr("The control random is as good"));
}

TEST(Sentence, SaysTheUnitOfTheBudget) {
  const auto at = [](const char* budget) {
    return sentence({.budget = budget, .prompts = 2, .slots = 60, .contenders = {{"cake", 60, {0.65, 0.5, 0.8}, {}}}});
  };
  EXPECT_THAT(at("0.1"), ::testing::StartsWith("At 0.1 of the prompt (60 slots), cake keeps"));
  EXPECT_THAT(at("1.0"), ::testing::StartsWith("At 1.0 of the prompt (60 slots), "));
  EXPECT_THAT(at("256KiB"), ::testing::StartsWith("At 256KiB (60 slots), cake keeps"));
}

TEST(Choices, HoldARowForEveryMethodAndBudget) {
  const SmallTable table = choices({{.budget = "64",
                                     .prompts = 2,
                                     .slots = 62,
                                     .contenders = {{"cake", 60, {0.8, 0.7, 0.9}, {0, 0, 0}}},
                                     .left_out = {{"greedy", 96}}}});
  ASSERT_THAT(table.rows, SizeIs(2));
  EXPECT_THAT(table.rows[0], ElementsAre("cake", "64", "60.0", "62.0", "80.00", "0.00", "0.00", "0.00", "2"));
  EXPECT_THAT(table.rows[1], ElementsAre("greedy", "64", "96.0", "-", "-", "-", "-", "-", "2"));
}

TEST(Sentence, SaysWhoHoldsOtherSlotsAndWhoIsNotCompared) {
  const std::string text = sentence({.budget = "64",
                                     .prompts = 1,
                                     .slots = 64,
                                     .contenders = {{"cake", 64, {0.8}, {}}, {"dynamickv", 97.5, {0.7}, {0.1}}},
                                     .left_out = {{"greedy", 96}}});
  EXPECT_EQ(text,
            "At 64 slots, cake keeps 80.0 % of the attention (one prompt). It leads dynamickv by 10.0 points. "
            "Asked for 64, other slots are held by dynamickv (97.5 held): compared between budgets. "
            "Not compared, for want of budgets that hold as many slots: greedy (96 held).");
}

TEST(Findings, AreEmptyWithoutTheirTables) {
  EXPECT_THAT(pattern_findings({}), IsEmpty());
  EXPECT_THAT(task_findings({}), IsEmpty());
  EXPECT_THAT(budget_findings({}).rows, IsEmpty());
  EXPECT_THAT(needle_findings({}).rows, IsEmpty());
  EXPECT_THAT(calibration_findings({}).rows, IsEmpty());
}

}  // namespace
}  // namespace evictlab::plots
