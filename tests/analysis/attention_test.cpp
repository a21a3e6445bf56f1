#include "analysis/attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace evictlab::analysis {
namespace {

using trace::ElementType;
using trace::Tensor;

TEST(Attention, EntropyOfUniformOneHotAndScaledRows) {
  EXPECT_NEAR(entropy(std::vector<float>(8, 0.125F)), std::log(8), 1e-12);
  EXPECT_EQ(entropy(std::vector<float>{0, 1, 0}), 0);
  EXPECT_EQ(entropy(std::vector<float>{0, 0}), 0);
  EXPECT_EQ(entropy({}), 0);
  // 1/2, 1/4, 1/4: 1.5 bits; weights need not sum to 1.
  EXPECT_NEAR(entropy(std::vector<float>{4, 2, 0, 2}), 1.5 * std::log(2), 1e-12);
}

// Two rows of five positions: the query at 3 spreads evenly over its four, the query at 4 looks at itself alone.
Tensor two_rows(ElementType type, float scale) {
  Tensor rows(type, 1, 2, 5, scale);
  rows.set_row(0, 0, std::vector{.25F, .25F, .25F, .25F, 0.0F});
  rows.set_row(0, 1, std::vector{0.0F, 0.0F, 0.0F, 0.0F, 1.0F});
  return rows;
}

TEST(Attention, ProfileAveragesOverTheWindowRows) {
  for (const Tensor& rows : {two_rows(ElementType::kFloat32, 1), two_rows(ElementType::kFloat16, 32768)}) {
    const AttentionProfile profile = attention_profile(rows.view(), 0, 0, {.sinks = 1, .recent = 2});
    EXPECT_NEAR(profile.entropy, std::log(4) / 2, 1e-6);
    EXPECT_NEAR(profile.normalized_entropy, 0.5, 1e-6);       // 1 and 0
    EXPECT_NEAR(profile.effective_positions, 2.5, 1e-6);      // 4 and 1
    EXPECT_NEAR(profile.sink_mass, 0.125, 1e-6);              // .25 and 0
    EXPECT_NEAR(profile.recent_mass, (0.5 + 1.0) / 2, 1e-6);  // positions 2..3, 3..4
  }
}

TEST(Attention, ASlidingWindowShortensThePrefixThatUniformIsMeasuredAgainst) {
  // The query at 4 sees 3..4 only, evenly: uniform over what it sees, and no sink in sight.
  Tensor rows(ElementType::kFloat32, 1, 1, 5);
  rows.set_row(0, 0, std::vector{0.0F, 0.0F, 0.0F, .5F, .5F});
  const AttentionProfile profile = attention_profile(rows.view(), 0, 2, {.sinks = 4, .recent = 32});
  EXPECT_NEAR(profile.normalized_entropy, 1, 1e-6);
  EXPECT_NEAR(profile.sink_mass, 0.5, 1e-6);  // position 3 is one of the first four
  EXPECT_NEAR(profile.recent_mass, 1, 1e-6);
  EXPECT_NEAR(attention_profile(rows.view(), 0, 2, {.sinks = 3, .recent = 1}).sink_mass, 0, 1e-6);
}

TEST(Attention, APromptOfOnePositionHasNoEntropy) {
  Tensor rows(ElementType::kFloat32, 1, 1, 1);
  rows.set_row(0, 0, std::vector{1.0F});
  const AttentionProfile profile = attention_profile(rows.view(), 0, 0);
  EXPECT_EQ(profile.entropy, 0);
  EXPECT_EQ(profile.normalized_entropy, 0);
  EXPECT_EQ(profile.effective_positions, 1);
}

TEST(Attention, TableHasARowForEveryRecordedLayerAndHead) {
  trace::ModelInfo model;
  model.layers = 3;
  model.query_heads = 2;
  model.kv_heads = 1;
  model.head_dim = 4;
  model.sliding_windows = {0, 0, 0};
  trace::MemoryTrace source(model);
  trace::MemoryTrace::Prompt prompt;
  prompt.info.id = "p0";
  prompt.info.task = "needle";
  prompt.info.prompt_length = 4;
  prompt.info.future_length = 1;
  prompt.info.window = 1;
  prompt.info.layers = {0, 2};  // layer 1 was not recorded
  prompt.tokens.assign(5, 0);
  for (const trace::Index layer : prompt.info.layers) {
    trace::LayerData data;
    data.shape = trace::layer_shape(model, prompt.info, layer);
    data.window_attention = Tensor(ElementType::kFloat32, 2, 1, 4);
    data.window_attention.set_row(0, 0, std::vector<float>(4, .25F));
    data.window_attention.set_row(1, 0, std::vector{.5F, .5F, 0.0F, 0.0F});
    data.attention_mass = Tensor(ElementType::kFloat32, 2, 1, 4);
    data.future_mass = Tensor(ElementType::kFloat32, 2, 1, 5);
    data.output_norms = Tensor(ElementType::kFloat32, 2, 1, 5);
    prompt.layers.push_back(std::move(data));
  }
  source.add_prompt(std::move(prompt));

  const Table table = attention_table(source);
  ASSERT_EQ(table.rows(), 4U);
  const int layers[] = {0, 0, 2, 2};
  const int heads[] = {0, 1, 0, 1};
  for (std::size_t r = 0; r < 4; ++r) {
    EXPECT_EQ(table.text(r, table.column("prompt")), "p0");
    EXPECT_EQ(table.text(r, table.column("task")), "needle");
    EXPECT_EQ(table.number(r, table.column("layer")), layers[r]);
    EXPECT_EQ(table.number(r, table.column("head")), heads[r]);
    EXPECT_NEAR(*table.number(r, table.column("entropy_nats")), std::log(heads[r] == 0 ? 4 : 2), 1e-6);
    EXPECT_NEAR(*table.number(r, table.column("effective_positions")), heads[r] == 0 ? 4 : 2, 1e-6);
  }
}

}  // namespace
}  // namespace evictlab::analysis
