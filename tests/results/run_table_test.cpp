#include "results/run_table.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "results/labels.hpp"
#include "results/schema.hpp"

namespace evictlab::results {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

/// A row of replay.csv; no mass: infeasible.
void add_run_row(Table& table, const char* prompt, const char* policy, const char* parameters, const char* role,
         const char* budget, std::optional<double> mass) {
  for (const char* layer : {"0", "all"}) {
    Row row(table);
    row.set("prompt", prompt).set("task", "qa").set("policy", policy).set("parameters", parameters).set("role", role);
    row.set("budget_requested", budget).set("layer", layer).set("status", mass ? "ok" : "infeasible");
    row.set("retained_mass", mass).set("slots_held", mass ? std::optional(64.0) : std::nullopt);
    table.add_row(std::move(row));
  }
}

Table small_table() {
  Table table = new_table("replay");
  add_run_row(table, "b", "snapkv", "window=8", "method", "64", 0.5);
  add_run_row(table, "b", "oracle", "", "ceiling", "64", 0.9);
  add_run_row(table, "a", "snapkv", "window=8", "method", "64", 0.7);
  add_run_row(table, "a", "oracle", "", "ceiling", "64", std::nullopt);
  add_run_row(table, "a", "snapkv", "window=8", "method", "1MiB", 0.8);
  return table;
}

TEST(RunTable, GivesRowsOverAllLayers) {
  const std::vector<results::Run> runs = runs_over_layers(small_table());
  ASSERT_EQ(runs.size(), 5U);
  EXPECT_EQ(runs[0].row, 1U);
  EXPECT_EQ(runs[0].key, (PolicyKey{"snapkv", "window=8"}));
  EXPECT_EQ(runs[0][Measure::kRetainedMass], 0.5);
  EXPECT_FALSE(runs[0][Measure::kExactLoss].has_value());
  EXPECT_EQ(runs[1].role, Role::kCeiling);
  EXPECT_FALSE(runs[3].feasible());
  EXPECT_FALSE(runs[3].slots_held.has_value());
  EXPECT_EQ(runs[4].budget_text, "1MiB");
  EXPECT_FALSE(runs[4].budget_slots.has_value());
  EXPECT_EQ(runs[0].budget_slots, 64.0);
}

TEST(RunTable, GroupsRunsByBudgetAndPolicyInTheOrderOfTheTable) {
  const std::vector<BudgetRuns> budgets = by_budget(runs_over_layers(small_table()));
  ASSERT_EQ(budgets.size(), 2U);
  EXPECT_EQ(budgets[0].budget_text, "64");
  const PolicyRuns* snapkv = budgets[0].find({"snapkv", "window=8"});
  ASSERT_NE(snapkv, nullptr);
  EXPECT_EQ(snapkv->runs[0].prompt, "b");
  EXPECT_THAT(snapkv->values(Measure::kRetainedMass), ElementsAre(Pair("a", 0.7), Pair("b", 0.5)));
  EXPECT_EQ(budgets[1].find({"oracle", ""}), nullptr);
}

TEST(RunTable, ValuesArePairedOverPromptsThatBothHave) {
  const std::vector<BudgetRuns> budgets = by_budget(runs_over_layers(small_table()));
  const auto values = [&](std::size_t policy) { return budgets[0].policies[policy].values(Measure::kRetainedMass); };
  const auto [own, other] = paired(values(0), values(1));
  EXPECT_THAT(own, ElementsAre(0.5));
  EXPECT_THAT(other, ElementsAre(0.9));
}

TEST(RunTable, NamesEveryPromptOnceInOrder) {
  EXPECT_THAT(prompts_of(runs_over_layers(small_table())), ElementsAre("b", "a"));
}

TEST(RunTable, HalvesAreEvenWithinEveryTaskAndInAll) {
  std::vector<results::Run> runs;
  const auto prompt = [&runs](const char* id, const char* task) {
    results::Run run;
    run.prompt = id;
    run.task = task;
    runs.push_back(run);
    runs.push_back(run);  // of another policy
  };
  // One prompt each of four tasks, three of a fifth: 2 + 2, then one more than the other half.
  prompt("a", "needle");
  prompt("b", "code");
  prompt("c", "summary");
  prompt("d", "dialogue");
  prompt("e", "copy");
  prompt("f", "copy");
  prompt("g", "copy");
  EXPECT_THAT(first_half(runs), ElementsAre("a", "c", "e", "g"));
}

TEST(RunTable, HalvesKeepPromptsOfADocumentTogether) {
  std::vector<results::Run> runs;
  for (const auto& [prompt, document] :
       {std::pair("a", "x"), std::pair("b", "y"), std::pair("c", "y"), std::pair("d", "x")}) {
    results::Run run;
    run.prompt = prompt;
    run.document = document;
    runs.push_back(run);
  }
  EXPECT_THAT(first_half(runs), ElementsAre("a", "d"));
}

TEST(RunTable, InfersRolesOnlyWhereATableHasNoneOfItsOwn) {
  Table old({"prompt", "policy", "parameters", "budget_requested"});
  for (const auto& [policy, parameters] :
       {std::pair("full", ""), std::pair("oracle", "over=heads"), std::pair("random", "seed=1"),
        std::pair("protect-only", ""), std::pair("compose", "scorer=future,allocator=uniform"),
        std::pair("compose", "scorer=cake,allocator=hindsight"), std::pair("compose", "scorer=cake"),
        std::pair("snapkv", "")}) {
    old.add_row(Row(old).set("prompt", "a").set("policy", policy).set("parameters", parameters));
  }
  std::vector<Role> roles;
  for (const results::Run& run : runs_over_layers(old)) roles.push_back(run.role);
  EXPECT_THAT(roles, ElementsAre(Role::kCeiling, Role::kCeiling, Role::kControl, Role::kControl, Role::kCeiling,
                                 Role::kCeiling, Role::kMethod, Role::kMethod));
  Table table = new_table("replay");
  add_run_row(table, "a", "full", "", "method", "8", 0.5);
  EXPECT_EQ(runs_over_layers(table)[0].role, Role::kMethod);  // as the table says
  add_run_row(table, "b", "full", "", "best", "8", 0.5);
  EXPECT_THROW(runs_over_layers(table), TableError);
}

TEST(RunTable, MissingColumnsAreNamed) {
  EXPECT_THROW(runs_over_layers(Table({"prompt", "policy", "parameters"})), TableError);
  EXPECT_THROW(require_columns(new_table("replay"), {"slots_held", "kl"}), TableError);
  EXPECT_NO_THROW(require_columns(new_table("replay"), {"slots_held"}));
}

TEST(Labels, ShowTheParametersThatDiffer) {
  const auto labels = policy_labels(
      {{"snapkv", "window=8,kernel=5"}, {"snapkv", "window=16,kernel=5"}, {"cake", "window=32"}, {"h2o", ""}});
  EXPECT_EQ(labels.at({"snapkv", "window=16,kernel=5"}), "snapkv(window=16)");
  EXPECT_EQ(labels.at({"cake", "window=32"}), "cake");
  EXPECT_EQ(labels.at({"h2o", ""}), "h2o");
}

// Nothing has two values, so only whether the second parameter is there distinguishes them; commas in brackets are
// a parameter's own.
TEST(Labels, ShowParametersThatOnlySomeRunsHave) {
  const auto labels = policy_labels({{"compose", "scorer=x(a=1,b=2)"}, {"compose", "scorer=x(a=1,b=2),share=layer"}});
  EXPECT_EQ(labels.at({"compose", "scorer=x(a=1,b=2)"}), "compose");
  EXPECT_EQ(labels.at({"compose", "scorer=x(a=1,b=2),share=layer"}), "compose(share=layer)");
}

TEST(Labels, EveryRowOfATableHasOne) {
  Table table = new_table("summary");
  for (const char* parameters : {"window=8", "window=16", "window=8"}) {
    table.add_row(Row(table).set("policy", "snapkv").set("parameters", parameters));
  }
  EXPECT_THAT(row_labels(table), ElementsAre("snapkv(window=8)", "snapkv(window=16)", "snapkv(window=8)"));
}

}  // namespace
}  // namespace evictlab::results
