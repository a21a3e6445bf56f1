#include "lab/prompt_look.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "small_trace.hpp"

namespace evictlab::lab {
namespace {

LookSettings look_of(const std::string& policies, const std::string& budgets) {
  LookSettings settings{.policies = sim::make_policies(policies),
                        .labels = {},
                        .budgets = sim::parse_budgets(budgets),
                        .text = [](std::int32_t) { return std::string("."); }};
  for (const sim::Policy& policy : settings.policies) settings.labels.push_back(policy.label());
  return settings;
}

/// Positions that a set holds, at one position a cell.
std::size_t held(const plots::LookKept& kept) {
  std::size_t count = 0;
  for (const std::uint8_t byte : kept.bits) count += static_cast<std::size_t>(std::popcount(byte));
  return count;
}

TEST(PromptLook, ShowsTheKeptSetsThatWereJudgedOfPoliciesThatReadTheFutureToo) {
  const trace::MemoryTrace trace = trace::synthesize(small_synthetic());
  Observer observer;
  const LookSettings settings = look_of("oracle,snapkv(window=16)", "24,0.3");
  const plots::Look look = make_look(trace, settings, std::nullopt, observer);
  ASSERT_EQ(look.prompts.size(), 2U);
  ASSERT_EQ(look.prompts.front().cell, 1U);
  sim::ReplayOptions options;
  std::size_t compared = 0;
  options.retention = [&](const sim::RetentionRecord& record) {
    for (const plots::LookPrompt& prompt : look.prompts) {
      if (prompt.id != record.prompt.id) continue;
      const auto budget = static_cast<std::size_t>(&record.budget - settings.budgets.data());
      const auto policy = static_cast<std::size_t>(&record.policy - settings.policies.data());
      std::size_t positions = 0;
      for (const sim::LayerRetention& layer : record.retention.layers) positions += layer.positions.size();
      EXPECT_EQ(held(prompt.kept[budget][policy]), positions) << record.policy.text() << " " << record.budget.text();
      EXPECT_GT(prompt.kept[budget][policy].sets, 0U) << record.policy.text();
      ++compared;
    }
  };
  sim::replay(trace, settings.policies, settings.budgets, options);
  EXPECT_EQ(compared, 2U * 2 * 2);
}

TEST(PromptLook, LeavesOnlyInfeasibleBudgetsEmpty) {
  const trace::MemoryTrace trace = trace::synthesize(small_synthetic());
  Observer observer;
  const plots::Look look = make_look(trace, look_of("snapkv(window=16)", "8,24"), std::nullopt, observer);
  EXPECT_EQ(look.prompts.front().kept[0][0].sets, 0U);
  EXPECT_GT(look.prompts.front().kept[1][0].sets, 0U);
}

TEST(PromptLook, SwallowsNoError) {
  const trace::MemoryTrace trace = trace::synthesize(small_synthetic());
  Observer observer;
  EXPECT_THROW(make_look(trace, look_of("snapkv(window=64)", "48"), std::nullopt, observer), sim::PolicyError);
}

}  // namespace
}  // namespace evictlab::lab
