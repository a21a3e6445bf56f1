#include "sim/replay/kept_overlap.hpp"

#include <gtest/gtest.h>

#include "sim/policy/registry.hpp"

namespace evictlab::sim {
namespace {

trace::PromptInfo overlap_prompt(const std::string& id) {
  trace::PromptInfo info;
  info.id = id;
  info.task = "needle";
  info.prompt_length = 100;
  return info;
}

class KeptOverlaps : public ::testing::Test {
 protected:
  const std::vector<Policy> policies_ = make_policies("full,random,snapkv");
  const std::vector<Budget> budgets_ = parse_budgets("2,3,50");
  KeptOverlap overlap_{budgets_, 4};

  void add(const std::string& id, std::size_t policy, std::size_t budget, std::vector<LayerRetention> layers) {
    const Retention retention{Granularity::kKvHead, std::move(layers)};
    overlap_.add({policies_[policy], budgets_[budget], overlap_prompt(id), retention});
  }
};

// Four query heads, two kv heads. random keeps {0, 1, 99} and {4}; snapkv one set a query head: {0, 1, 99}, {0}, {4},
// {5}: overlaps 1, 1/3, 1, 0, in the second layer all 1.
TEST_F(KeptOverlaps, AreMeansOverQueryHeadsAndLayersAtTheMiddleBudget) {
  const LayerRetention alike{1, {7, 8}, {0, 1, 2}, {1, 1}};
  add("a", 0, 1, {{0, {0}, {0, 1}, {1}}, alike});
  add("a", 1, 0, {alike, alike});
  add("a", 1, 1, {{0, {99, 0, 1, 4}, {0, 3, 4}, {3, 1}}, alike});
  add("a", 2, 1, {{0, {0, 1, 99, 0, 4, 5}, {0, 3, 4, 5, 6}, {3, 1, 1, 1}}, alike});
  add("b", 1, 1, {alike});
  add("b", 2, 1, {alike});
  const results::Table table = overlap_.finish();
  ASSERT_EQ(table.rows(), 2U);
  const std::size_t overlap = table.column("overlap");
  EXPECT_NEAR(table.number(0, overlap).value(), ((1.0 + 1.0 / 3 + 1.0 + 0.0) / 4 + 1.0) / 2, 1e-12);
  EXPECT_EQ(table.number(1, overlap), 1.0);
  EXPECT_EQ(table.text(0, table.column("policy")), "random");
  EXPECT_EQ(table.text(0, table.column("other_policy")), "snapkv");
  EXPECT_EQ(table.text(0, table.column("budget_requested")), "3");
  EXPECT_EQ(table.text(1, table.column("prompt")), "b");
}

TEST_F(KeptOverlaps, OfOnePolicyAreNone) {
  add("a", 1, 1, {{0, {1, 2}, {0, 1, 2}, {1, 1}}});
  EXPECT_EQ(overlap_.finish().rows(), 0U);
}

}  // namespace
}  // namespace evictlab::sim
