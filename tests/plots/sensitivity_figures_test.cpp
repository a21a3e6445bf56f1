#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "plots/figures.hpp"
#include "results/schema.hpp"

namespace evictlab::plots {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct SiteMeans {
  results::Cell kl;
  double error;
  double preference;
};

void add_site(results::Table& table, int layer, const results::Cell& head, const SiteMeans& means,
              const char* task = "all") {
  results::Row row(table);
  row.set("policy", "snapkv")
      .set("budget_requested", 64)
      .set("task", task)
      .set("layer", layer)
      .set("head", head)
      .set("prompts", 2)
      .set("kl", means.kl)
      .set("squared_error", means.error);
  if (means.kl.index() != 0) row.set("kl_low", 0.001).set("kl_high", 0.5);
  if (results::cell_of("all") == head) row.set("preference_share", means.preference);
  table.add_row(std::move(row));
}

/// Three layers: KL .25, .125, .0625; squared error 1, 2, .5; preference .125, .375, .5.
results::Table three_layers() {
  results::Table table = results::new_table("sensitivity_summary");
  const results::Cell all = results::cell_of("all");
  add_site(table, 0, all, {0.25, 1, 0.125});
  add_site(table, 1, all, {0.125, 2, 0.375});
  add_site(table, 2, all, {0.0625, 0.5, 0.5});
  add_site(table, 0, all, {0.75, 4, 0.25}, "copy");
  return table;
}

TEST(SensitivityFigures, DrawLiveAndOfflineSensitivityAboveThePublishedShares) {
  const std::vector<Figure> figures = sensitivity_figures(three_layers());
  ASSERT_EQ(figures.size(), 1U);
  EXPECT_EQ(figures[0].name, "sensitivity");
  const std::string& script = figures[0].script;
  EXPECT_THAT(script, HasSubstr("\n0 0.25 0.001 0.5\n1 0.125 0.001 0.5\n2 0.0625 0.001 0.5\n"));
  EXPECT_THAT(script, HasSubstr("\n0 1 NaN NaN\n1 2 NaN NaN\n2 0.5 NaN NaN\n"));
  EXPECT_THAT(script, HasSubstr("\n0 0.375 NaN NaN\n1 1.125 NaN NaN\n2 1.5 NaN NaN\n")) << "times an even split";
  EXPECT_THAT(script, Not(HasSubstr("0 0.75"))) << "a single task's";
  // Of three pairs of layers the squared error has one in the wrong order, the preference all.
  EXPECT_THAT(script, HasSubstr("tau-b 0.33 with live KL"));
  EXPECT_THAT(script, HasSubstr("CAKE's preference: tau-b -1.00"));
  EXPECT_THAT(script, HasSubstr("mean over 2 prompts, 95 % bootstrap intervals"));
}

TEST(SensitivityFigures, DrawTheOfflineMeasureAloneWhereNoModelRan) {
  results::Table table = results::new_table("sensitivity_summary");
  for (int layer = 0; layer < 2; ++layer) add_site(table, layer, results::cell_of("all"), {{}, 1.0 + layer, 0.5});
  const std::vector<Figure> figures = sensitivity_figures(table);
  ASSERT_EQ(figures.size(), 1U);
  EXPECT_THAT(figures[0].script, Not(HasSubstr("Live")));
  EXPECT_THAT(figures[0].script, HasSubstr("with squared error"));
  EXPECT_TRUE(head_sensitivity_figures(table).empty());
  EXPECT_TRUE(sensitivity_figures(results::new_table("sensitivity_summary")).empty());
}

TEST(SensitivityFigures, ShowZeroOnALogarithmicAxis) {
  results::Table table = results::new_table("sensitivity_summary");
  add_site(table, 0, results::cell_of("all"), {0.0, 1, 0.5});
  add_site(table, 1, results::cell_of("all"), {0.125, 1, 0.5});
  // The smallest end of an interval is .001, a tenth of it stands for none.
  EXPECT_THAT(sensitivity_figures(table)[0].script, HasSubstr("\n0 0.0001 0.001 0.5\n"));
}

TEST(HeadSensitivityFigures, MapKvHeadsOfAllLayersRelativeToTheirMean) {
  results::Table table = three_layers();
  for (int layer = 0; layer < 2; ++layer) {
    for (int head = 0; head < 2; ++head) {
      add_site(table, layer, results::cell_of(head), {layer == 0 && head == 0 ? 0.625 : 0.125, 1, 0});
    }
  }
  // The mean is .25: .625 is 2.5 times it, .125 half of it. Powers of two: log2(2.5) = 1.32192809.
  const std::vector<Figure> figures = head_sensitivity_figures(table);
  ASSERT_EQ(figures.size(), 1U);
  EXPECT_EQ(figures[0].name, "head_sensitivity");
  EXPECT_THAT(figures[0].script, HasSubstr("\n0 0 1.32192809\n0 1 -1\n1 0 -1\n1 1 -1\n"));
}

TEST(SensitivityAgreementFigures, DrawTauOfEveryQuantityWithItsIntervalByLiveKl) {
  results::Table table = results::new_table("sensitivity_agreement");
  const auto add = [&](const char* sites, const char* target, const char* quantity, double tau) {
    results::Row row(table);
    row.set("policy", "snapkv").set("budget_requested", 64).set("sites", sites).set("target", target);
    row.set("quantity", quantity).set("prompts", 8).set("ceiling", 0.875);
    row.set("tau_b", tau).set("tau_b_low", -0.25).set("tau_b_high", 0.75);
    table.add_row(std::move(row));
  };
  add("layers", "kl", "squared_error", 0.5);
  add("layers", "kl", "pyramidkv_share", 0.125);
  add("layers", "squared_error", "pyramidkv_share", 0.0625);
  add("heads", "kl", "squared_error", 0.25);
  const std::vector<Figure> figures = sensitivity_agreement_figures(table);
  ASSERT_EQ(figures.size(), 1U);
  const std::string& script = figures[0].script;
  EXPECT_THAT(script, HasSubstr("\n0 0.5 -0.25 0.75\n"));
  EXPECT_THAT(script, HasSubstr("\n1 0.125 -0.25 0.75\n"));
  EXPECT_THAT(script, HasSubstr("\n0 0.25 -0.25 0.75\n"));
  EXPECT_THAT(script, Not(HasSubstr("0.0625")));
  EXPECT_THAT(script, HasSubstr("PyramidKV's budget"));
  EXPECT_THAT(script, HasSubstr("0.875 with lines"));
  EXPECT_TRUE(sensitivity_agreement_figures(results::new_table("sensitivity_agreement")).empty());
}

}  // namespace
}  // namespace evictlab::plots
