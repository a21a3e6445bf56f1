#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <utility>
#include <vector>

#include "core/random.hpp"
#include "replay_table.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/loss_curves.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

// Measures and units of recorded gradients.

namespace evictlab::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

/// A synthetic trace with random numbers as gradients.
trace::MemoryTrace trace_with_gradients(const trace::SyntheticOptions& options, Index draws) {
  trace::MemoryTrace trace(synthesize(options).model());
  std::vector<trace::RowMatrix> weights;
  for (Index layer = 0; layer < options.layers; ++layer) {
    weights.push_back(synthesize(options).output_weight(layer));
  }
  trace.set_output_weights(std::move(weights));
  core::SplitMix64 random(5);
  for (Index i = 0; i < options.prompts; ++i) {
    trace::MemoryTrace::Prompt prompt = synthetic_prompt(options, i);
    prompt.info.gradient_draws = draws;
    for (trace::LayerData& layer : prompt.layers) {
      layer.output_gradients =
          trace::Tensor(trace::ElementType::kFloat16, draws, options.future, trace.model().hidden_size, 8.0F);
      std::vector<float> row(static_cast<std::size_t>(trace.model().hidden_size));
      for (Index draw = 0; draw < draws; ++draw) {
        for (Index t = 0; t < options.future; ++t) {
          for (float& value : row) value = static_cast<float>(2.0 * random.uniform() - 1.0);
          layer.output_gradients.set_row(draw, t, row);
        }
      }
    }
    trace.add_prompt(std::move(prompt));
  }
  return trace;
}

TEST(FisherMeasures, AreEmptyWithoutGradients) {
  trace::SyntheticOptions options;
  options.prompts = 1;
  const ReplayResult result = replay(synthesize(options), make_policies("snapkv"), parse_budgets("40"));
  const Rows rows(result.replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (const char* measure : {"fisher_loss", "fisher_kl", "fisher_kl_error"}) EXPECT_EQ(rows.text(row, measure), "");
  }
}

TEST(FisherMeasures, OfARunAreTheSumOfTheLayersLossesAndADivergenceOfAllLayersAlone) {
  trace::SyntheticOptions options;
  options.prompts = 1;
  const ReplayResult result =
      replay(trace_with_gradients(options, 4), make_policies("full,snapkv,h2o(decode=yes)"), parse_budgets("40"));
  const Rows rows(result.replay);
  double sum = 0.0;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const double loss = rows.number(row, "fisher_loss").value();
    if (rows.text(row, "layer") != "all") {
      EXPECT_EQ(rows.text(row, "fisher_kl"), "");
      EXPECT_EQ(rows.text(row, "fisher_kl_error"), "");
      sum += loss;
      continue;
    }
    const bool full = rows.text(row, "policy") == "full";
    EXPECT_NEAR(loss, std::exchange(sum, 0.0), 1e-12 * loss);
    EXPECT_EQ(loss == 0.0, full);
    EXPECT_EQ(rows.number(row, "fisher_kl").value() == 0.0, full);
    EXPECT_EQ(rows.number(row, "fisher_kl_error").value() == 0.0, full);
  }
}

TEST(FisherMeasures, OfOneLayerAndOneQueryAreOneNumberAndItsErrorNeedsTwoDraws) {
  trace::SyntheticOptions options;
  options.prompts = 1;
  options.layers = 1;
  options.future = 1;
  for (const Index draws : {1, 3}) {
    const ReplayResult result =
        replay(trace_with_gradients(options, draws), make_policies("snapkv"), parse_budgets("40"));
    const Rows rows(result.replay);
    const double loss = rows.number(1, "fisher_loss").value();
    EXPECT_NEAR(rows.number(1, "fisher_kl").value(), loss, 1e-12 * loss);
    EXPECT_EQ(rows.number(1, "fisher_kl_error").has_value(), draws > 1);
  }
}

TEST(FisherUnit, OfAHeadsCurveIsTheLossOfARunThatEvictsThereAlone) {
  trace::SyntheticOptions options;
  options.prompts = 1;
  const trace::MemoryTrace trace = trace_with_gradients(options, 3);
  const FitScorer scorers[] = {fit_scorer(make_policies("h2o").front())};
  const Index prompts[] = {0};
  const LossCurves curves = measure_loss_curves(trace, prompts, scorers, LossUnit::kFisher, nullptr);
  // The first candidate protects nothing: 48 positions are the 48 best.
  const auto count = std::ranges::find(curves.counts, 48) - curves.counts.begin();
  const Index head = 1 * options.kv_heads + 1;  // of layer 1
  const double found = curves.curve(curves.prompts.front(), static_cast<std::size_t>(head), 0)[count];
  const ReplayResult result =
      replay(trace, make_policies("h2o(window=0,evict_layer=1,evict_head=1)"), parse_budgets("48"));
  const Rows rows(result.replay);
  const double expected = rows.number(static_cast<std::size_t>(options.layers), "fisher_loss").value();
  EXPECT_GT(expected, 0.0);
  EXPECT_NEAR(found, expected, 1e-4 * expected);
}

TEST(FisherUnit, NeedsGradients) {
  const trace::SyntheticOptions options;
  const FitScorer scorers[] = {fit_scorer(make_policies("h2o").front())};
  const Index prompts[] = {0};
  const auto measure = [&] {
    return measure_loss_curves(synthesize(options), prompts, scorers, LossUnit::kFisher, nullptr);
  };
  EXPECT_THAT(measure, ThrowsMessage<PolicyError>(HasSubstr("lacks output_gradients")));
  EXPECT_THAT(measure, ThrowsMessage<PolicyError>(HasSubstr("--tier full --gradients, or fit with --unit output")));
}

}  // namespace
}  // namespace evictlab::sim
