#include "plots/figures.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "plots/canvas.hpp"
#include "plots/series.hpp"
#include "plots/style.hpp"

namespace evictlab::plots {
namespace {

using results::Cell;
using results::Table;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Table replay_table() {
  return Table({"prompt", "task", "T", "policy", "parameters", "budget_requested", "slots_held", "layer",
                "retained_mass", "relative_loss", "status"});
}

void add_run(Table& table, const std::string& prompt, const std::string& task, const std::string& policy,
             std::int64_t slots, double retained, Cell relative = {}) {
  table.add_row({prompt, task, std::int64_t{4}, policy, std::string("window=8"), slots, slots, std::int64_t{0}, 0.111,
                 relative, std::string("ok")});
  table.add_row({prompt, task, std::int64_t{4}, policy, std::string("window=8"), slots, slots, std::string("all"),
                 retained, relative, std::string("ok")});
}

std::vector<std::string> names_of(const std::vector<Figure>& figures) {
  std::vector<std::string> names;
  for (const Figure& figure : figures) names.push_back(figure.name);
  return names;
}

TEST(LossFigures, DrawOneMinusTheMeanRetainedMassAgainstSlotsHeld) {
  // Two prompts retain .5 and .75 in 64 slots: loss .375, of which the bootstrap's extremes are .25 and .5.
  Table table = replay_table();
  add_run(table, "a", "needle", "snapkv", 64, 0.5);
  add_run(table, "b", "needle", "snapkv", 64, 0.75);
  const std::vector<Figure> figures = loss_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("loss"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n64 0.375 0.25 0.5\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("mean over 2 prompts, 95 % bootstrap intervals"));
  EXPECT_THAT(figures[0].script, Not(HasSubstr("\n64 0.889")));             // a layer's row
  EXPECT_THAT(figures[0].script, Not(HasSubstr("Attention output lost")));  // not measured
  EXPECT_THAT(figures[0].script, HasSubstr(policy_style("snapkv").gnuplot()));
}

TEST(LossFigures, DrawTheOutputLossWhereItWasMeasured) {
  Table table = replay_table();
  add_run(table, "a", "needle", "snapkv", 64, 0.5, 0.0625);
  EXPECT_THAT(loss_figures(table)[0].script, HasSubstr("\n64 0.0625 NaN NaN\n")) << "one prompt has no bar";
}

TEST(LossFigures, LeaveOutPointsThatSomePromptsLack) {
  // At 16 slots prompt b was infeasible: a mean over a alone would be about other prompts.
  Table table = replay_table();
  add_run(table, "a", "needle", "snapkv", 16, 0.5);
  add_run(table, "a", "needle", "snapkv", 64, 0.75);
  add_run(table, "b", "needle", "snapkv", 64, 0.75);
  table.add_row({std::string("b"), std::string("needle"), std::int64_t{4}, std::string("snapkv"),
                 std::string("window=8"), std::int64_t{16}, std::monostate{}, std::string("all"), std::monostate{},
                 std::monostate{}, std::string("infeasible")});
  const std::string script = loss_figures(table)[0].script;
  EXPECT_THAT(script, HasSubstr("\n64 0.25 0.25 0.25\n"));
  EXPECT_THAT(script, Not(HasSubstr("\n16 0.5")));
}

TEST(LossFigures, ShadeBetweenOracleAndRandomWhenBothAreThere) {
  Table table = replay_table();
  add_run(table, "a", "needle", "oracle", 64, 0.75);
  EXPECT_THAT(loss_figures(table)[0].script, Not(HasSubstr("filledcurves")));
  add_run(table, "a", "needle", "random", 64, 0.5);
  add_run(table, "a", "needle", "oracle", 128, 0.875);
  add_run(table, "a", "needle", "random", 128, 0.625);
  // Along the oracle, back along random.
  const std::string script = loss_figures(table)[0].script;
  EXPECT_THAT(script, HasSubstr("64 0.25\n128 0.125\n128 0.375\n64 0.5\n"));
  EXPECT_THAT(script, HasSubstr("filledcurves"));
}

TEST(LossFigures, ShadeBelowWhateverReadsTheFutureByItsRole) {
  Table table(
      {"prompt", "task", "policy", "parameters", "role", "budget_requested", "slots_held", "layer", "retained_mass"});
  const auto add = [&](const char* policy, const char* parameters, const char* role, double retained) {
    table.add_row({std::string("a"), std::string("kv"), std::string(policy), std::string(parameters), std::string(role),
                   std::int64_t{64}, std::int64_t{64}, std::string("all"), retained});
  };
  add("compose", "scorer=future", "ceiling", 0.75);
  add("shuffled", "", "control", 0.5);
  const std::string script = loss_figures(table)[0].script;
  EXPECT_THAT(script, HasSubstr("64 0.25\n64 0.5\n"));
  EXPECT_THAT(script, HasSubstr("grey: between compose and shuffled"));
}

TEST(LossFigures, SplitByTaskWhenThereAreSeveral) {
  Table table = replay_table();
  add_run(table, "a", "needle", "snapkv", 64, 0.5, 0.25);
  add_run(table, "b", "copy", "snapkv", 64, 0.75, 0.125);
  const std::vector<Figure> figures = loss_by_task_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("loss_by_task_mass", "loss_by_task_output"));
  EXPECT_THAT(figures[0].script, HasSubstr("needle (n = 1)"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n64 0.5 NaN NaN\n"));
  EXPECT_THAT(figures[1].script, HasSubstr("\n64 0.125 NaN NaN\n"));
}

TEST(AllFigures, AreDrawnFromTheTablesThatAreThereAndKnowTheirSection) {
  Table replay = replay_table();
  add_run(replay, "a", "needle", "snapkv", 64, 0.5);
  Table overlap({"prompt", "task", "layer", "other_layer", "overlap"});
  overlap.add_row({std::string("a"), std::string(), std::int64_t{1}, std::int64_t{0}, 0.25});
  const std::vector<Figure> figures = all_figures({{"overlap", overlap}, {"replay", replay}, {"unknown", overlap}});
  ASSERT_THAT(names_of(figures), ElementsAre("loss", "layer_overlap"));
  EXPECT_EQ(figures[0].section, "loss");
  EXPECT_EQ(figures[1].section, "patterns");
  EXPECT_THAT(figure_tables(), testing::Contains("kept_overlap"));
  EXPECT_THAT(all_figures({}), ElementsAre());
}

TEST(LossFigures, FullCacheAloneGivesNoFigureSinceItLosesNothing) {
  Table table = replay_table();
  add_run(table, "a", "needle", "full", 500, 1.0, 0.0);
  EXPECT_TRUE(loss_figures(table).empty());
  EXPECT_TRUE(loss_figures(replay_table()).empty());
}

TEST(LossFigures, ReportAMissingColumn) {
  EXPECT_THROW(loss_figures(Table({"prompt", "task", "policy"})), results::TableError);
}

TEST(AttentionFigures, AverageOverPromptsPerLayerAndHead) {
  Table table({"prompt", "task", "layer", "head", "entropy_nats", "normalized_entropy", "effective_positions",
               "sink_mass", "recent_mass"});
  for (const double entropy : {0.25, 0.75}) {
    table.add_row({fmt::format("p{}", entropy), std::string("needle"), std::int64_t{1}, std::int64_t{2}, 1.0, entropy,
                   4.0, 0.125, 0.375});
  }
  const std::vector<Figure> figures = attention_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("attention"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n2 1 0.5\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n2 1 0.125\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n2 1 0.375\n"));
}

TEST(AttentionFigures, RefuseALayerThatIsNone) {
  Table table({"prompt", "task", "layer", "head", "normalized_entropy", "sink_mass", "recent_mass"});
  table.add_row({std::string("p"), std::string(""), 1e300, std::int64_t{0}, 0.5, 0.5, 0.5});
  EXPECT_THROW(attention_figures(table), results::TableError);
}

TEST(BudgetFigures, ShowLayersRelativeToAnEvenSplit) {
  // pyramidkv holds 30 and 10 in two layers (even would be 20): 1.5 and .5. snapkv is even, like random.
  Table table({"prompt", "policy", "parameters", "budget_requested", "layer", "head", "slots"});
  for (const std::int64_t layer : {0, 1}) {
    for (const std::int64_t head : {0, 1}) {
      const auto add = [&](const std::string& policy, std::int64_t slots) {
        table.add_row({std::string("a"), policy, std::monostate{}, std::int64_t{10}, layer, head, slots});
      };
      add("pyramidkv", layer == 0 ? 10 + 10 * head : 5);
      add("snapkv", 10);
      add("random", 10);
    }
  }
  const std::vector<Figure> figures = budget_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("layer_budgets", "head_budgets"));
  EXPECT_THAT(figures[0].script, HasSubstr("0 1.5 NaN NaN\n1 0.5 NaN NaN\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("even split (2 policies)"));
  EXPECT_THAT(figures[0].script, Not(HasSubstr("snapkv")));
  // Heads of 10 and 20 around 15: 2/3 and 4/3 of an even split, as powers of two; layer 1 is even.
  EXPECT_THAT(figures[1].script, HasSubstr("0 0 -0.584962501\n0 1 0\n1 0 0.415037499\n1 1 0\n"));
  EXPECT_THAT(figures[1].script, Not(HasSubstr("snapkv")));
}

TEST(BoundFigures, AverageTheRatiosToTheExactLossOverPoliciesAsRatios) {
  Table table({"prompt", "layer", "policy", "parameters", "budget_requested", "slots_held", "ada_bound", "head_bound",
               "keptmax_bound", "value_bound", "exact_loss"});
  const auto add = [&](const std::string& policy, double ada, double exact) {
    table.add_row({std::string("a"), std::string("all"), policy, std::monostate{}, std::int64_t{64}, 64.0, ada, ada,
                   ada, ada, exact});
  };
  add("snapkv", 8.0, 2.0);  // 4 times
  add("cake", 16.0, 1.0);   // 16 times: the geometric mean is 8
  add("full", 0.0, 0.0);    // loses nothing
  const std::vector<Figure> figures = bound_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("bounds"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n64 8 NaN NaN\n"));
}

TEST(LayerFigures, DrawALineForEveryTaskAndTheMeanWithItsIntervals) {
  Table table({"task", "table", "quantity", "layer", "mean", "low", "high", "prompts"});
  const auto add = [&](const char* task, std::int64_t layer, double mean, std::int64_t prompts) {
    table.add_row({std::string(task), std::string("layers"), std::string("preference_share"), layer, mean, mean - 0.125,
                   mean + 0.125, prompts});
  };
  for (const std::int64_t layer : {0, 1}) {
    add("all", layer, layer == 0 ? 0.75 : 0.25, 5);
    add("copy", layer, layer == 0 ? 1.0 : 0.0, 2);
    add("kv", layer, 0.5, 3);
  }
  const std::vector<Figure> figures = layer_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("layers"));
  EXPECT_THAT(figures[0].script, HasSubstr("0 0.75 0.625 0.875\n1 0.25 0.125 0.375\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\"kv (n = 3)\""));
  // Of two layers an even split is 1/2 each: twice that is 2^1; nothing is at most a quarter; 1 is even.
  const std::vector<Figure> shares = layer_share_figures(table);
  ASSERT_THAT(names_of(shares), ElementsAre("layer_shares_by_task"));
  EXPECT_THAT(shares[0].script, HasSubstr("0 0 1\n0 1 0\n1 0 -2\n1 1 0\n"));
}

TEST(ConcentrationFigures, DrawACurveForEveryLayerAndAMapOfItsHeads) {
  Table table({"prompt", "task", "layer", "head", "fraction", "mass"});
  for (const std::int64_t head : {0, 1}) {
    for (const double fraction : {0.01, 0.1}) {
      table.add_row(
          {std::string("a"), std::string(), std::int64_t{3}, head, fraction, fraction * 2 + 0.5 * double(head)});
    }
  }
  const std::vector<Figure> figures = concentration_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("mass_curves", "concentration"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n0.01 0.27 3\n0.1 0.45 3\n"));
  EXPECT_THAT(figures[1].script, HasSubstr("0 0 0.02\n0 1 0.52\n1 0 0.2\n1 1 0.7\n"));
  EXPECT_THAT(figures[1].script, HasSubstr("\"10 %%\" 1"));
}

TEST(LayerOverlapFigures, NeedMoreThanOneLayer) {
  Table table({"prompt", "task", "layer", "other_layer", "overlap"});
  table.add_row({std::string("a"), std::string(), std::int64_t{0}, std::int64_t{0}, 1.0});
  EXPECT_THAT(layer_overlap_figures(table), ElementsAre());
  table.add_row({std::string("a"), std::string(), std::int64_t{1}, std::int64_t{0}, 0.25});
  table.add_row({std::string("b"), std::string(), std::int64_t{1}, std::int64_t{0}, 0.75});
  ASSERT_THAT(names_of(layer_overlap_figures(table)), ElementsAre("layer_overlap"));
  EXPECT_THAT(layer_overlap_figures(table)[0].script, HasSubstr("\n0 1 0.5\n"));
}

TEST(FutureFigures, PoolManyStepsInsteadOfDroppingThem) {
  Table table({"prompt", "task", "layer", "step", "hit_rate", "drift"});
  for (std::int64_t step = 0; step < 128; ++step) {
    table.add_row({std::string("a"), std::string(), std::int64_t{0}, step, step % 2 == 0 ? 0.0 : 0.5, 1.0});
  }
  const std::vector<Figure> figures = future_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("foresight"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n63 0 0.25\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("future query / 2"));
}

TEST(NeedleFigures, ShowTheShareKeptByDepthAndLength) {
  Table table({"prompt", "task", "prompt_length", "depth", "policy", "parameters", "budget_requested", "layer", "span",
               "retained"});
  const auto add = [&](std::int64_t length, double depth, Cell layer, const std::string& span, double retained) {
    table.add_row({fmt::format("p{}", length), std::string(), length, depth, std::string("snapkv"), std::monostate{},
                   std::int64_t{64}, layer, span, retained});
  };
  add(500, 0.25, std::string("all"), "needle", 0.5);
  add(1010, 0.95, std::string("all"), "needle", 0.75);
  add(500, 0.25, std::int64_t{2}, "needle", 0.125);
  add(500, 0.25, std::string("all"), "question", 1.0);
  const std::vector<Figure> figures = needle_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("needles", "needles_by_layer"));
  EXPECT_THAT(figures[0].script, HasSubstr("0.25 0 0.5\n0.95 1 0.75\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\"≈ 512\" 0, \"≈ 1024\" 1"));
  EXPECT_THAT(figures[1].script, HasSubstr("\n2 0 0.125\n"));
}

TEST(NeedleAccuracyFigures, ShowAnswersBesideWhatIsKept) {
  Table table(
      {"prompt", "task", "prompt_length", "depth", "policy", "parameters", "budget_requested", "accuracy", "retained"});
  const auto add = [&](const std::string& prompt, double depth, double accuracy, double retained) {
    table.add_row({prompt, std::string("needle"), std::int64_t{500}, depth, std::string("snapkv"), std::monostate{},
                   std::int64_t{64}, accuracy, retained});
  };
  add("a", 0.25, 1.0, 0.5);
  add("b", 0.27, 0.0, 0.25);
  const std::vector<Figure> figures = needle_accuracy_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("needle_accuracy"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n0.25 0 0.5\n"));    // one of two is right
  EXPECT_THAT(figures[0].script, HasSubstr("\n0.25 0 0.375\n"));  // kept
  EXPECT_TRUE(needle_accuracy_figures(Table(table.columns())).empty());
}

TEST(OutcomeFigures, DrawEachQuantityAgainstTheSlotsHeld) {
  Table table(
      {"turn", "task", "budget_requested", "policy", "parameters", "quantity", "prompts", "mean", "low", "high"});
  const auto add = [&](const std::string& task, const std::string& quantity, double mean) {
    table.add_row({std::int64_t{1}, task, std::int64_t{64}, std::string("snapkv"), std::monostate{}, quantity,
                   std::int64_t{3}, mean, mean / 2, mean * 2});
  };
  add("all", "kl", 0.5);
  add("all", "slots_held", 60);
  add("all", "accuracy_after_first", 0.25);
  add("needle", "kl", 0.7);
  const std::vector<Figure> figures = outcome_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("outcomes"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n60 0.5 0.25 1\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n60 0.25 0.125 0.5\n"));
  EXPECT_THAT(figures[0].script, Not(HasSubstr("\n60 0.7 ")));
  EXPECT_THAT(figures[0].script, HasSubstr("mean over 3 prompts"));
}

TEST(CalibrationFigures, DrawEveryMeasureBelowTheCeiling) {
  Table table({"budget_requested", "measure", "prompts", "tau_b", "tau_b_low", "tau_b_high", "transfer", "transfer_low",
               "transfer_high", "chosen", "ceiling"});
  const auto add = [&](Cell budget, const std::string& measure, Cell tau, const std::string& chosen) {
    table.add_row({budget, measure, std::int64_t{8}, tau, 0.25, 0.75, 0.375, 0.125, 0.625, chosen, 0.875});
  };
  add(std::int64_t{64}, "regret", 0.125, "no");
  add(std::string("all"), "retained_mass", 0.5, "yes");
  add(std::string("all"), "exact_loss", Cell(), "no");  // not measured
  const std::vector<Figure> figures = calibration_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("calibration"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n0 0.5 0.25 0.75\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n0.2 0.375 0.125 0.625\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\"retained mass *\" 0"));
  EXPECT_THAT(figures[0].script, HasSubstr("0.875 with lines"));
  EXPECT_THAT(figures[0].script, Not(HasSubstr("regret")));
  EXPECT_TRUE(calibration_figures(Table(table.columns())).empty());
}

TEST(PredictionFigures, DrawTheDivergenceAgainstWhatWasPredicted) {
  Table table({"budget_requested", "policy", "parameters", "measure", "predicted", "kl", "kl_low", "kl_high"});
  const auto add = [&](const std::string& measure, double predicted, double kl) {
    table.add_row({std::int64_t{64}, std::string("snapkv"), std::monostate{}, measure, predicted, kl, kl / 2, kl * 2});
  };
  add("retained_mass", 0.75, 0.5);  // a loss of 0.25
  add("relative_loss", 0.125, 0.5);
  add("regret", 0.3, 0.5);         // not drawn
  add("relative_loss", 0.625, 0);  // on no logarithmic axis
  const std::vector<Figure> figures = prediction_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("predictions"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n0.25 0.5 0.25 1\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n0.125 0.5 0.25 1\n"));
  EXPECT_THAT(figures[0].script, Not(HasSubstr("0.625")));
}

TEST(ScorerFigures, ShowEveryScorersAgreementWithTheFuture) {
  Table table({"prompt", "task", "layer", "policy", "parameters", "spearman", "recall"});
  table.add_row({std::string("a"), std::string(), std::int64_t{1}, std::string("h2o"), std::monostate{}, 0.5, 0.25});
  table.add_row(
      {std::string("a"), std::string(), std::int64_t{1}, std::string("snapkv"), std::monostate{}, -0.5, 0.125});
  const std::vector<Figure> figures = scorer_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("scorers"));
  // In the order of legends from the top: h2o above snapkv. Below chance is drawn as none.
  EXPECT_THAT(figures[0].script, HasSubstr("\n1 0 0.125\n1 1 0.25\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n1 0 0\n1 1 0.5\n"));
}

TEST(DifferenceFigures, ShowWhereTwoRecordingsDifferByLayerAndTask) {
  Table table({"task", "quantity", "layer_a", "layer_b", "mean_a", "mean_b", "difference", "low", "high", "paired",
               "prompts_a", "prompts_b"});
  const auto add = [&table](const char* task, const char* quantity, results::Cell layer, double difference) {
    table.add_row({std::string(task), std::string(quantity), layer, layer, std::monostate{}, std::monostate{},
                   difference, difference - 0.25, difference + 0.25, std::string("no"), std::int64_t{4},
                   std::int64_t{3}});
  };
  add("all", "preference_distance", std::monostate{}, 0.5);
  add("kv", "preference_distance", std::monostate{}, 0.75);
  add("all", "preference_relative", std::int64_t{1}, -0.5);
  add("kv", "preference_relative", std::int64_t{1}, 9.0);  // layers are drawn over all prompts
  const std::vector<Figure> figures = difference_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("differences"));
  EXPECT_THAT(figures[0].script, HasSubstr("\n1 -0.5 -0.75 -0.25\n"));
  EXPECT_THAT(figures[0].script, Not(HasSubstr("1 9")));
  EXPECT_THAT(figures[0].script, HasSubstr("0 0.5 0.25 0.75\n1 0.75 0.5 1\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\"all (n = 4, 3)\" 0, \"kv (n = 4, 3)\" 1"));
  EXPECT_THAT(figures[0].script, HasSubstr("4 prompts of A, 3 others of B"));
}

TEST(LogarithmicTics, AreAtOneTwoAndFiveWhereDecadesAreFew) {
  EXPECT_EQ(logarithmic_tics("x", 0.15, 3.0), "set xtics norotate (0.2, 0.5, 1, 2)\n");
  EXPECT_EQ(logarithmic_tics("x", 0.25, 0.8), "set xtics norotate (0.3, 0.4, 0.5, 0.7)\n");
  EXPECT_EQ(logarithmic_tics("y", 1.0, 1000.0), "set ytics norotate auto\n");
}

TEST(AttentionMapFigures, ShowTheFirstPromptALayerAPanelOnALogarithmicScale) {
  Table table({"prompt", "task", "prompt_length", "layer", "query", "depth_bin", "attention"});
  for (const std::string prompt : {"a", "b"}) {
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      for (const std::int64_t query : {90, 95}) {
        for (std::int64_t bin = 0; bin < 2; ++bin) {
          table.add_row({prompt, std::string("kv"), std::int64_t{100}, layer, query, bin, bin == 0 ? 0.1 : 0.0});
        }
      }
    }
  }
  const std::vector<Figure> figures = attention_map_figures(table);
  ASSERT_THAT(names_of(figures), ElementsAre("attention_maps"));
  EXPECT_THAT(figures[0].script, HasSubstr("(a, 100 positions)"));
  EXPECT_THAT(figures[0].script, HasSubstr("0.25 0 -1\n0.25 1 -1\n0.75 0 -3\n0.75 1 -3\n"));
  EXPECT_THAT(figures[0].script, HasSubstr("\"layer 1\""));
}

TEST(PositionFigures, ShowTheDensityRelativeToAnEvenSpread) {
  // Four bins; .5 of the slots in one is 2 times an even spread (2^1), .125 half of it, none at most an eighth.
  Table table({"prompt", "policy", "parameters", "budget_requested", "layer", "depth_bin", "share"});
  const double shares[] = {0.5, 0.125, 0.375, 0.0};
  for (std::int64_t bin = 0; bin < 4; ++bin) {
    table.add_row({std::string("a"), std::string("snapkv"), std::monostate{}, std::int64_t{64}, std::int64_t{0}, bin,
                   shares[bin]});
    table.add_row(
        {std::string("a"), std::string("full"), std::monostate{}, std::int64_t{64}, std::int64_t{0}, bin, 0.25});
  }
  const std::vector<Figure> figures = position_figures(table);
  ASSERT_EQ(figures.size(), 1U);
  EXPECT_THAT(figures[0].script, HasSubstr("0.125 0 1\n0.375 0 -1\n0.625 0 0.584962501\n0.875 0 -3\n"));
  EXPECT_THAT(figures[0].script, Not(HasSubstr("\"full\"")));
}

TEST(PositionFigures, RefuseMorePanelsThanAFigureCanHave) {
  Table table({"prompt", "policy", "parameters", "budget_requested", "layer", "depth_bin", "share"});
  for (int i = 0; i < 61; ++i) {
    table.add_row({std::string("a"), fmt::format("policy{}", i), std::monostate{}, std::int64_t{64}, std::int64_t{0},
                   std::int64_t{0}, 1.0});
  }
  EXPECT_THROW(position_figures(table), PlotError);
}

TEST(KeptOverlapFigures, AreSymmetricMeansOverPrompts) {
  Table table(
      {"prompt", "task", "policy", "parameters", "other_policy", "other_parameters", "budget_requested", "overlap"});
  for (const double overlap : {0.25, 0.5}) {
    table.add_row({fmt::format("prompt {}", overlap), std::string(), std::string("oracle"), std::monostate{},
                   std::string("snapkv"), std::monostate{}, std::int64_t{64}, overlap});
  }
  const std::vector<Figure> figures = kept_overlap_figures(table);
  ASSERT_EQ(figures.size(), 1U);
  EXPECT_THAT(figures[0].script, HasSubstr("0 0 1\n0 1 0.375\n1 0 0.375\n1 1 1\n"));
}

TEST(KeptOverlapFigures, ThereIsNoneOfOnePolicy) {
  const Table table(
      {"prompt", "task", "policy", "parameters", "other_policy", "other_parameters", "budget_requested", "overlap"});
  EXPECT_TRUE(kept_overlap_figures(table).empty());
}

TEST(Series, LabelsTellOnlyWhatDistinguishes) {
  Table table({"policy", "parameters"});
  table.add_row({std::string("snapkv"), std::string("window=32,pool=f(a=1,b=2),kernel=5")});
  table.add_row({std::string("snapkv"), std::string("window=32,pool=f(a=1,b=3),kernel=5")});
  table.add_row({std::string("oracle"), std::string("over=heads")});
  const std::vector<Series> series = series_of(table);
  std::vector<std::string> labels;
  for (const Series& one : series) labels.push_back(one.label);
  EXPECT_THAT(labels, ElementsAre("oracle", "snapkv(pool=f(a=1,b=2))", "snapkv(pool=f(a=1,b=3))"));
  EXPECT_EQ(series[1].style.color, series[2].style.color);
  EXPECT_NE(series[1].style.gnuplot(), series[2].style.gnuplot());
}

TEST(Series, AreCeilingsThenControlsThenMethodsWhateverTheirNames) {
  Table table({"policy", "parameters", "role"});
  table.add_row({std::string("cake"), std::monostate{}, std::string("method")});
  table.add_row({std::string("shuffled"), std::monostate{}, std::string("control")});
  table.add_row({std::string("compose"), std::string("scorer=future"), std::string("ceiling")});
  table.add_row({std::string("compose"), std::string("scorer=window"), std::string("method")});
  std::vector<std::string> labels;
  for (const Series& one : series_of(table)) labels.push_back(one.label);
  EXPECT_THAT(labels, ElementsAre("compose(scorer=future)", "shuffled", "cake", "compose(scorer=window)"));
  EXPECT_EQ(series_of(table)[0].style.color, policy_style("oracle").color);
  EXPECT_EQ(series_of(table)[1].style.color, policy_style("random").color);
}

TEST(Styles, EveryPolicyOfTheTableLooksDifferentAndUnknownOnesKeepTheirLook) {
  const char* policies[] = {"full",      "random",    "protect-only", "streaming-llm", "h2o",
                            "tova",      "snapkv",    "pyramidkv",    "ada-snapkv",    "ada-pyramid",
                            "dynamickv", "windowkv",  "cake",         "criticalkv",    "critical-adakv",
                            "knorm",     "keydiff",   "lagkv",        "chunkkv",       "expected-attention",
                            "oracle",    "simlayerkv"};
  std::set<std::pair<std::string, int>> looks;  // the dash is not counted: colour and mark are enough
  for (const char* policy : policies) {
    const Style style = policy_style(policy);
    EXPECT_TRUE(looks.emplace(style.color, style.point_type).second) << policy;
    EXPECT_LT(policy_rank(policy), std::size(policies)) << policy;
  }
  EXPECT_EQ(policy_style("mine").gnuplot(), policy_style("mine").gnuplot());
  EXPECT_NE(policy_style("compose", results::Role::kMethod, 1).color,
            policy_style("compose", results::Role::kMethod, 2).color);
  EXPECT_GE(policy_rank("mine"), std::size(policies));
}

}  // namespace
}  // namespace evictlab::plots
