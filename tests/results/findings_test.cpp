#include "results/findings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::results {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

Table table(const std::string& csv) { return Table::from_csv(csv, "table.csv"); }

TEST(LeadingLayers, AreAtMostThreeThatComeNearTheFirst) {
  // Two thirds of 0.9 is 0.6.
  EXPECT_THAT(leading_layers({{0, {0.6}}, {1, {0.9}}, {2, {0.59}}}), ElementsAre(1, 0));
  EXPECT_THAT(leading_layers({{0, {1}}, {1, {1}}, {2, {1}}, {3, {1}}}), ElementsAre(0, 1, 2));
  EXPECT_THAT(leading_layers({}), IsEmpty());
}

TEST(HeadKinds, CountTheKindThatAHeadIsOfOnMostPrompts) {
  const HeadKinds kinds = head_kinds(
      table("prompt,layer,head,kind\na,0,0,local\nb,0,0,local\nc,0,0,sink\na,0,1,retrieval\nb,0,1,retrieval\n"));
  EXPECT_EQ(kinds.heads, 2U);
  EXPECT_THAT(kinds.by_kind, ElementsAre(Pair("local", 1), Pair("retrieval", 1)));
  EXPECT_EQ(head_kinds(table("prompt,layer,head\na,0,0\n")).heads, 0U);
}

TEST(LargestShift, IsTheTotalVariationOfTheTwoTasksThatDifferMost) {
  // |0.75 - 0.25| in each of two layers, halved: 0.5. A layer that one task lacks has no share there.
  const auto shift =
      largest_shift({{"copy", {{0, 0.25}, {1, 0.75}}}, {"kv", {{0, 0.75}, {1, 0.25}}}, {"qa", {{0, 0.5}}}});
  ASSERT_TRUE(shift);
  EXPECT_EQ(shift->first, "copy");
  EXPECT_EQ(shift->second, "kv");
  EXPECT_DOUBLE_EQ(shift->distance, 0.5);
  EXPECT_FALSE(largest_shift({{"kv", {{0, 1.0}}}}));
}

TEST(BudgetDivisions, AreOfPoliciesThatSplitUnevenlyAndMoveBetweenTasks) {
  const Table budgets = table(
      "prompt,policy,parameters,budget_requested,layer,head,slots\n"
      "a,cake,,64,0,0,50\na,cake,,64,0,1,46\na,cake,,64,1,0,32\nb,cake,,64,0,0,64\nb,cake,,64,1,0,64\n"
      "a,cake,,128,0,0,1\na,snapkv,,64,0,0,64\na,snapkv,,64,1,0,64\nb,snapkv,,64,0,0,64\nb,snapkv,,64,1,0,64\n");
  const Table replay = table("prompt,task\na,kv\nb,copy\n");
  // Shares of layer 0: 0.75 and 0.5, so 0.625 = 1.25 times even; between the tasks a quarter moves. snapkv is even.
  const auto divisions = budget_divisions(budgets, &replay, "64");
  ASSERT_THAT(divisions, SizeIs(1));
  EXPECT_EQ(divisions[0].policy.policy, "cake");
  EXPECT_EQ(divisions[0].most_layer, 0);
  EXPECT_DOUBLE_EQ(divisions[0].most, 1.25);
  EXPECT_EQ(divisions[0].least_layer, 1);
  EXPECT_DOUBLE_EQ(divisions[0].least, 0.75);
  ASSERT_TRUE(divisions[0].shift);
  EXPECT_DOUBLE_EQ(divisions[0].shift->distance, 0.25);
  EXPECT_FALSE(budget_divisions(budgets, nullptr, "64")[0].shift) << "without tasks nothing moves between them";
}

TEST(NeedlesKept, AreByThirdOfThePromptAndInTheWorstLayer) {
  const auto kept = needles_kept(
      table("prompt,task,prompt_length,depth,policy,parameters,budget_requested,layer,span,retained\n"
            "a,t,100,0.1,h2o,,64,0,needle,0\na,t,100,0.1,h2o,,64,1,needle,0.5\na,t,100,0.1,h2o,,64,all,needle,0.25\n"
            "b,t,100,0.9,h2o,,64,0,needle,0.5\nb,t,100,0.9,h2o,,64,1,needle,1\nb,t,100,0.9,h2o,,64,all,needle,0.75\n"
            "b,t,100,0.9,h2o,,64,all,question,1\nb,t,100,0.9,h2o,,32,all,needle,0\n"),
      nullptr, "64");
  ASSERT_THAT(kept, SizeIs(1));
  EXPECT_DOUBLE_EQ(kept[0].all, 0.5);
  EXPECT_EQ(kept[0].thirds[0], 0.25);
  EXPECT_FALSE(kept[0].thirds[1]);
  EXPECT_EQ(kept[0].thirds[2], 0.75);
  EXPECT_EQ(kept[0].worst_layer, "0");
  EXPECT_DOUBLE_EQ(kept[0].in_worst_layer, 0.25);
}

// snapkv holds 64 and keeps half; greedy holds 96 at 64, all, and 48 at 32, nothing: with 64 slots log2(64 / 48) of it.
TEST(NeedlesKept, AreAtEqualHeldSlots) {
  const Table spans = table(
      "prompt,task,prompt_length,depth,policy,parameters,role,budget_requested,layer,span,retained\n"
      "a,t,100,0.1,snapkv,,method,64,all,needle,0.5\na,t,100,0.1,greedy,,method,64,all,needle,1\n"
      "a,t,100,0.1,greedy,,method,32,all,needle,0\na,t,100,0.1,wide,,method,64,all,needle,1\n");
  const Table replay = table(
      "prompt,task,policy,parameters,role,budget_requested,slots_held,layer,retained_mass\n"
      "a,t,snapkv,,method,64,64,all,0.6\na,t,greedy,,method,64,96,all,0.7\na,t,greedy,,method,32,48,all,0.4\n"
      "a,t,wide,,method,64,90,all,0.7\n");
  const auto kept = needles_kept(spans, &replay, "64");
  ASSERT_THAT(kept, SizeIs(3));
  EXPECT_NEAR(kept[0].all, 0.4150, 1e-4);
  EXPECT_EQ(kept[1].all, 0.5);
  EXPECT_FALSE(kept[2].compared);
}

}  // namespace
}  // namespace evictlab::results
