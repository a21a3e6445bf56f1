#include "results/sensitivity.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "results/rows.hpp"
#include "results/schema.hpp"

namespace evictlab::results {
namespace {

struct Value {
  double kl;
  double squared_error;
  double preference;
};

void add_site(Table& table, const std::string& prompt, int layer, const char* head, const Value& value) {
  Row row(table);
  row.set("prompt", prompt)
      .set("task", prompt == "c" ? "other" : "copy")
      .set("policy", "snapkv")
      .set("parameters", "window=8")
      .set("role", "method")
      .set("budget_requested", 64)
      .set("layer", layer)
      .set("kl", value.kl)
      .set("squared_error", value.squared_error)
      .set("retained_mass", 1 - value.kl)
      .set("preference_share", value.preference);
  std::string(head) == "all" ? row.set("head", head) : row.set("head", std::stoi(head));
  table.add_row(std::move(row));
}

/// Three layers of three prompts. Mean KL: 3, 2, 1; mean squared error: 30, 20, 10; preference 0.2, 0.5, 0.3 on each.
Table three_layers() {
  Table table = new_table("sensitivity");
  int prompt = 0;
  for (const char* id : {"a", "b", "c"}) {
    const double shift = 0.25 * (prompt++ - 1);
    add_site(table, id, 0, "all", {3 + shift, 30 + shift, 0.2});
    add_site(table, id, 1, "all", {2 - shift, 20 + shift, 0.5});
    add_site(table, id, 2, "all", {1 + shift, 10 - shift, 0.3});
  }
  return table;
}

std::map<std::string, RowView> by_quantity(const Table& agreement, const std::string& target) {
  std::map<std::string, RowView> rows;
  for (const RowView row : RowsOf(agreement)) {
    if (row.text("target") == target) rows.emplace(row.text("quantity"), row);
  }
  return rows;
}

TEST(SensitivitySummary, HoldsMeansOverThePromptsOfEveryTaskAndOfAll) {
  const Table summary = sensitivity_summary(three_layers());
  EXPECT_EQ(summary.rows(), 9U);  // three layers of: all, copy, other
  for (const RowView row : RowsOf(summary)) {
    if (row.text("layer") != "0") continue;
    if (row.text("task") == "all") {
      EXPECT_EQ(row.text("prompts"), "3");
      EXPECT_DOUBLE_EQ(row.number("kl").value(), 3);
      EXPECT_LT(row.number("kl_low").value(), 3);
      EXPECT_DOUBLE_EQ(row.number("preference_share").value(), 0.2);
      EXPECT_FALSE(row.number("nll_increase"));
    }
    if (row.text("task") == "copy") {
      EXPECT_DOUBLE_EQ(row.number("kl").value(), 2.875);  // of 2.75 and 3
    }
    if (row.text("task") == "other") {
      EXPECT_FALSE(row.number("kl_low")) << "one prompt has no interval";
    }
  }
}

TEST(SensitivityAgreement, RanksLayersByTheirMeansOverPrompts) {
  const Table agreement = sensitivity_agreement(three_layers());
  const auto rows = by_quantity(agreement, "kl");
  EXPECT_DOUBLE_EQ(rows.at("squared_error").number("tau_b").value(), 1);
  EXPECT_DOUBLE_EQ(rows.at("squared_error").number("tau_b_low").value(), 1) << "every draw has the same order";
  EXPECT_DOUBLE_EQ(rows.at("squared_error").number("ceiling").value(), 1);
  EXPECT_DOUBLE_EQ(rows.at("retained_mass").number("tau_b").value(), 1) << "less mass is worse";
  // KL falls over the layers; the preference is 0.2, 0.5, 0.3: of three pairs the last alone is in KL's order.
  EXPECT_DOUBLE_EQ(rows.at("preference_share").number("tau_b").value(), -1.0 / 3);
  EXPECT_DOUBLE_EQ(rows.at("preference_share").number("prompt_tau_b").value(), -1.0 / 3);
  EXPECT_FALSE(rows.contains("kl"));
}

TEST(SensitivityAgreement, RanksByTheOfflineMeasureWhereNoModelRan) {
  Table offline = new_table("sensitivity");
  for (int layer = 0; layer < 2; ++layer) {
    Row row(offline);
    row.set("prompt", "a")
        .set("policy", "snapkv")
        .set("role", "method")
        .set("budget_requested", 64)
        .set("layer", layer)
        .set("head", "all");
    row.set("squared_error", 2.0 - layer).set("preference_share", 0.25 + 0.5 * layer);
    offline.add_row(std::move(row));
  }
  const Table agreement = sensitivity_agreement(offline);
  EXPECT_TRUE(by_quantity(agreement, "kl").empty());
  const auto rows = by_quantity(agreement, "squared_error");
  EXPECT_DOUBLE_EQ(rows.at("preference_share").number("tau_b").value(), -1);
  EXPECT_FALSE(rows.at("preference_share").number("tau_b_low")) << "one prompt has no interval";
}

TEST(SensitivityAgreement, PrefersTheOfflineMeasureWhoseUnitIsTheSameInAllLayers) {
  Table table = three_layers();
  EXPECT_EQ(offline_sensitivity(table), "squared_error");
  Row row(table);
  row.set("prompt", "d").set("relative_squared_error", 0.5);
  table.add_row(std::move(row));
  EXPECT_EQ(offline_sensitivity(table), "relative_squared_error");
}

TEST(SensitivityAgreement, RanksKvHeadsOfAllLayersApartFromLayers) {
  Table table = three_layers();
  for (const char* id : {"a", "b", "c"}) {
    for (int layer = 0; layer < 3; ++layer) {
      for (const char* head : {"0", "1"}) add_site(table, id, layer, head, {1.0 * layer + (*head - '0'), 1, 0});
    }
  }
  const Table agreement = sensitivity_agreement(table);
  std::map<std::string, int> kinds;
  for (const RowView row : RowsOf(agreement)) {
    if (row.text("quantity") == "squared_error") ++kinds[row.text("sites")];
    if (row.text("sites") == "heads" && row.text("quantity") == "squared_error") {
      EXPECT_DOUBLE_EQ(row.number("tau_b").value(), 0) << "a constant puts nothing in order";
    }
  }
  EXPECT_EQ(kinds, (std::map<std::string, int>{{"layers", 1}, {"heads", 1}}));
}

}  // namespace
}  // namespace evictlab::results
