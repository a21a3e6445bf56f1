#include "results/rows.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::results {
namespace {

using ::testing::ElementsAre;

TEST(Rows, AreReadByTheNamesOfTheirColumns) {
  const Table table = Table::from_csv(
      "prompt,policy,parameters,budget_requested,layer,share\na,cake,,64,all,0.5\na,cake,,64,2,\n", "t");
  std::vector<std::string> layers;
  for (const RowView row : RowsOf(table)) layers.push_back(row.text("layer"));
  EXPECT_THAT(layers, ElementsAre("all", "2"));
  const RowView first(table, 0);
  EXPECT_EQ(first.prompt(), "a");
  EXPECT_EQ(first.policy(), (PolicyKey{"cake", ""}));
  EXPECT_EQ(first.budget(), "64");
  EXPECT_TRUE(first.over_layers());
  EXPECT_EQ(first.number("share"), 0.5);
  const RowView second(table, 1);
  EXPECT_EQ(second.index("layer"), 2);
  EXPECT_FALSE(second.number("share"));
  EXPECT_THROW(second.text("missing"), TableError);
}

TEST(Rows, CountOnlyInWholeNumbers) {
  const Table table = Table::from_csv("layer\n1.5\n-1\n1e300\n", "t");
  for (const RowView row : RowsOf(table)) EXPECT_THROW(row.index("layer"), TableError);
}

TEST(RequestedBudgets, AreOrderedAsNumbersAndSpreadWithTheirEnds) {
  Table table({"budget_requested"});
  for (const char* budget : {"64MiB", "128", "64", "0.05", "1024", "64"}) table.add_row({std::string(budget)});
  const std::vector<std::string> budgets = requested_budgets(table);
  EXPECT_THAT(budgets, ElementsAre("0.05", "64", "128", "1024", "64MiB"));
  EXPECT_THAT(spread(budgets, 3), ElementsAre("0.05", "128", "64MiB"));
  EXPECT_THAT(spread(budgets, 1), ElementsAre("128"));
  EXPECT_EQ(middle_budget(table), "128");
}

}  // namespace
}  // namespace evictlab::results
