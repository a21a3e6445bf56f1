#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "replay_table.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

// Measures that compare errors with the residual stream.

namespace evictlab::sim {
namespace {

ReplayResult replayed(const trace::Source& source) {
  return replay(source, make_policies("snapkv,h2o"), parse_budgets("40"));
}

TEST(ResidualErrors, NeedTheNormsOfTheStream) {
  const trace::SyntheticOptions options;
  const trace::MemoryTrace without = synthesize(options);
  trace::MemoryTrace with(without.model());
  std::vector<trace::RowMatrix> weights;
  for (trace::Index l = 0; l < options.layers; ++l) weights.push_back(without.output_weight(l));
  with.set_output_weights(std::move(weights));
  for (trace::Index i = 0; i < options.prompts; ++i) {
    trace::MemoryTrace::Prompt prompt = synthetic_prompt(options, i);
    prompt.info.missing = {};
    for (trace::LayerData& layer : prompt.layers) {
      layer.residual_norms = trace::Tensor(trace::ElementType::kFloat32, 3, 1, options.future);
      for (float& norm : layer.residual_norms.floats()) norm = 2.0F;
    }
    with.add_prompt(std::move(prompt));
  }
  const ReplayResult full = replayed(with);
  const Rows rows(full.replay);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const double error = rows.number(row, "squared_error").value();
    EXPECT_NEAR(rows.number(row, "relative_squared_error").value(), error / 4.0, 1e-5 * error);
    const double tail = rows.number(row, "tail_loss").value();
    if (rows.text(row, "layer") != "all") {
      EXPECT_GE(tail * tail, error / 4.0 * (1 - 1e-5));  // the worst queries lose at least what the mean query does
      continue;
    }
    double largest = 0.0;
    for (std::size_t layer = 1; layer <= static_cast<std::size_t>(options.layers); ++layer) {
      largest = std::max(largest, rows.number(row - layer, "tail_loss").value());
    }
    EXPECT_LE(tail, largest * (1 + 1e-6));
    EXPECT_GE(tail * tail, error / 4.0 / static_cast<double>(options.layers) * (1 - 1e-5));
  }
  const ReplayResult plain = replayed(without);
  const Rows empty(plain.replay);
  for (std::size_t row = 0; row < empty.size(); ++row) {
    for (const char* measure : {"relative_squared_error", "tail_loss"}) EXPECT_EQ(empty.text(row, measure), "");
    EXPECT_EQ(empty.text(row, "squared_error"), rows.text(row, "squared_error"));
  }
}

}  // namespace
}  // namespace evictlab::sim
