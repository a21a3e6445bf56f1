#include "results/differences.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace evictlab::results {
namespace {

Table layers() { return Table({"prompt", "task", "layer", "dispersion", "preference_share"}); }

void add(Table& table, const std::string& prompt, const std::string& task, std::int64_t layer, double dispersion,
         double share) {
  table.add_row({prompt, task, layer, dispersion, share});
}

std::optional<std::size_t> find(const Table& table, const std::string& task, const std::string& quantity,
                                const std::string& layer) {
  for (std::size_t r = 0; r < table.rows(); ++r) {
    if (table.text(r, 0) == task && table.text(r, 1) == quantity && table.text(r, 2) == layer) return r;
  }
  return std::nullopt;
}

double at(const Table& table, std::size_t row, const char* column) {
  return table.number(row, table.column(column)).value();
}

TEST(Differences, PromptsOfTheSameIdsAreComparedInPairs) {
  Table a = layers();
  Table b = layers();
  // Prompts differ widely, recordings always by 1.
  add(a, "p", "kv", 0, 10, 1.0);
  add(b, "p", "kv", 0, 9, 1.0);
  add(a, "q", "kv", 0, 100, 1.0);
  add(b, "q", "kv", 0, 99, 1.0);
  add(b, "r", "kv", 0, 1e6, 1.0);  // only in B: left out
  const Table table = difference_table(a, b);
  const std::size_t row = find(table, "all", "dispersion", "0").value();
  EXPECT_EQ(at(table, row, "difference"), 1.0);
  EXPECT_EQ(at(table, row, "low"), 1.0);
  EXPECT_EQ(at(table, row, "high"), 1.0);
  EXPECT_EQ(table.text(row, table.column("paired")), "yes");
  EXPECT_EQ(at(table, row, "prompts_b"), 2.0);
  EXPECT_TRUE(find(table, "kv", "dispersion", "0"));
}

TEST(Differences, OtherPromptsAreIndependentSamples) {
  Table a = layers();
  Table b = layers();
  add(a, "p", "kv", 0, 10, 1.0);
  add(a, "q", "kv", 0, 20, 1.0);
  add(b, "x", "copy", 0, 5, 1.0);
  add(b, "y", "copy", 0, 7, 1.0);
  const Table table = difference_table(a, b);
  const std::size_t row = find(table, "all", "dispersion", "0").value();
  EXPECT_EQ(at(table, row, "difference"), 9.0);
  EXPECT_EQ(at(table, row, "low"), 3.0);    // 10 - 7
  EXPECT_EQ(at(table, row, "high"), 15.0);  // 20 - 5
  EXPECT_EQ(table.text(row, table.column("paired")), "no");
  EXPECT_FALSE(find(table, "kv", "dispersion", "0")) << "only one of them has the task";
}

TEST(Differences, ModelsOfOtherDepthAreMatchedByRelativeDepth) {
  Table a = layers();
  Table b = layers();
  for (std::int64_t layer = 0; layer < 3; ++layer) add(a, "p", "kv", layer, 1, layer == 0 ? 1.0 : 0.0);
  for (std::int64_t layer = 0; layer < 5; ++layer) add(b, "p", "kv", layer, double(layer), layer == 4 ? 1.0 : 0.0);
  const Table table = difference_table(a, b);
  EXPECT_EQ(at(table, find(table, "all", "dispersion", "1").value(), "layer_b"), 2.0);
  EXPECT_EQ(at(table, find(table, "all", "dispersion", "2").value(), "mean_b"), 4.0);
  // All preference at the first layer against all at the last.
  EXPECT_EQ(at(table, find(table, "all", "preference_distance", "").value(), "difference"), 1.0);
}

TEST(Differences, SharesOfLayersAreComparedAsMultiplesOfAnEvenSplit) {
  Table a = layers();
  Table b = layers();
  for (std::int64_t layer = 0; layer < 2; ++layer) add(a, "p", "kv", layer, 1, layer == 0 ? 0.75 : 0.25);
  for (std::int64_t layer = 0; layer < 4; ++layer) add(b, "p", "kv", layer, 1, 0.25);
  const Table unlike = difference_table(a, b);
  const std::size_t row = find(unlike, "all", "preference_relative", "0").value();
  EXPECT_EQ(at(unlike, row, "mean_a"), 1.5);
  EXPECT_EQ(at(unlike, row, "mean_b"), 1.0);
  EXPECT_FALSE(find(unlike, "all", "preference_share", "0")) << "shares of other numbers of layers";
  EXPECT_EQ(at(difference_table(a, a), find(difference_table(a, a), "all", "preference_share", "0").value(), "mean_a"),
            0.75);
}

TEST(Differences, ARecordingDoesNotDifferFromItself) {
  Table a = layers();
  add(a, "p", "kv", 0, 3, 0.25);
  add(a, "p", "kv", 1, 4, 0.75);
  const Table table = difference_table(a, a);
  for (std::size_t row = 0; row < table.rows(); ++row) EXPECT_EQ(at(table, row, "difference"), 0.0);
}

}  // namespace
}  // namespace evictlab::results
