#include "plots/terminal.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace evictlab::plots {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

results::Table replay() {
  results::Table table({"prompt", "task", "policy", "parameters", "budget_requested", "slots_held", "layer",
                        "retained_mass", "relative_loss"});
  for (const std::int64_t budget : {64, 128}) {
    for (const std::string policy : {"snapkv", "cake", "full"}) {
      table.add_row({std::string("a"), std::string("kv"), policy, std::monostate{}, budget, budget, std::string("all"),
                     policy == "full" ? 1.0 : 1 - 16.0 / static_cast<double>(budget), std::monostate{}});
    }
  }
  return table;
}

results::Table terminal_tasks() {
  results::Table table({"task", "table", "quantity", "layer", "mean", "low", "high", "prompts"});
  for (std::int64_t layer = 0; layer < 4; ++layer) {
    table.add_row({std::string("all"), std::string("layers"), std::string("preference_share"), layer, 0.25, 0.25, 0.25,
                   std::int64_t{3}});
  }
  return table;
}

std::size_t longest_line(const std::string& text) {
  std::istringstream lines(text);
  std::size_t longest = 0;
  for (std::string line; std::getline(lines, line);) longest = std::max(longest, line.size());
  return longest;
}

TEST(TerminalPlots, ShowLossByBudgetWithALetterPerPolicyWithinTheWidth) {
  const std::string text = terminal_plots({{"replay", replay()}}, 80);
  EXPECT_THAT(text, HasSubstr("Attention mass lost (one prompt)"));
  EXPECT_THAT(text, HasSubstr("snapkv"));
  EXPECT_THAT(text, HasSubstr("cake"));
  EXPECT_THAT(text, HasSubstr("A"));
  EXPECT_THAT(text, HasSubstr("B"));
  EXPECT_THAT(text, Not(HasSubstr("full"))) << "nothing lost has no place on a logarithmic axis";
  EXPECT_LE(longest_line(text), 80U);
  EXPECT_GT(longest_line(terminal_plots({{"replay", replay()}}, 120)), 80U);
}

TEST(TerminalPlots, ShowTheLayersSharesOfTheBudget) {
  const std::string text = terminal_plots({{"tasks", terminal_tasks()}}, 80);
  EXPECT_THAT(text, HasSubstr("Each layer's share of the budget (mean over 3 prompts)"));
  EXPECT_THAT(text, HasSubstr("CAKE"));
  EXPECT_THAT(text, Not(HasSubstr("DynamicKV")));
}

TEST(TerminalPlots, AreEmptyWhereThereIsNothingToShow) {
  EXPECT_EQ(terminal_plots({}, 80), "");
  EXPECT_EQ(terminal_plots({{"replay", results::Table(replay().columns())}}, 80), "");
}

}  // namespace
}  // namespace evictlab::plots
