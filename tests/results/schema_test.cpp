#include "results/schema.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "core/file.hpp"
#include "results/measures.hpp"

namespace evictlab::results {
namespace {

TEST(Schema, EveryTableAndEachOfItsColumnsIsThereOnceAndHasAMeaning) {
  std::set<std::string> tables;
  for (const TableSchema& table : schemas()) {
    EXPECT_TRUE(tables.insert(table.name).second) << table.name;
    EXPECT_FALSE(table.commands.empty() || table.row.empty()) << table.name;
    std::set<std::string> columns;
    for (const Column& column : table.columns) {
      EXPECT_TRUE(columns.insert(column.name).second) << table.name << "." << column.name;
      EXPECT_FALSE(column.meaning.empty()) << table.name << "." << column.name;
    }
  }
}

TEST(Schema, ReplayHasAColumnForEveryMeasureInTheirOrder) {
  std::vector<std::string> expected;
  for (const MeasureInfo& measure : measures()) expected.emplace_back(measure.column);
  std::vector<std::string> found;
  const Table replay = new_table("replay");
  for (const std::string& column : replay.columns()) {
    if (measure_of(column)) found.push_back(column);
  }
  EXPECT_EQ(found, expected);
}

TEST(Schema, TablesOfRunsSayTheRoleOfTheirPolicies) {
  for (const TableSchema& table : schemas()) {
    const auto has = [&](const char* name) {
      return std::ranges::find(table.columns, name, &Column::name) != table.columns.end();
    };
    EXPECT_EQ(has("policy") && !has("other_policy"), has("role")) << table.name;
  }
}

TEST(Schema, RowsAreFilledByTheNamesOfColumnsAndEmptyOtherwise) {
  Table table = new_table("budgets");
  table.add_row(Row(table).set("prompt", "a").set("head", 3).set("slots", std::size_t{64}));
  EXPECT_EQ(table.to_csv(), "prompt,policy,parameters,role,budget_requested,layer,head,slots\na,,,,,,3,64\n");
  EXPECT_THROW(Row(table).set("heads", 3), std::invalid_argument);
  EXPECT_THROW(new_table("heads"), std::invalid_argument);
}

// Rewritten from the schema when EVICTLAB_UPDATE_DOCS is set.
TEST(Schema, TheResultsPageIsWhatTheSchemaSays) {
  const std::string path = EVICTLAB_SOURCE_DIR "/docs/results.md";
  if (std::getenv("EVICTLAB_UPDATE_DOCS") != nullptr) core::write_text(path, schema_page());
  EXPECT_EQ(core::read_text(path), schema_page());
}

TEST(Measures, AreFoundByTheirColumnAndKnowWhichEndIsBetter) {
  for (const MeasureInfo& measure : measures()) {
    EXPECT_EQ(measure_of(measure.column), measure.id);
    EXPECT_EQ(&info(measure.id), &measure);
  }
  EXPECT_FALSE(measure_of("kl").has_value());
  EXPECT_EQ(as_loss(Measure::kRetainedMass, 0.25), -0.25);
  EXPECT_EQ(as_loss(Measure::kExactLoss, 0.25), 0.25);
}

}  // namespace
}  // namespace evictlab::results
