#include "lab/profile_tables.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>
#include "results/task_table.hpp"

namespace evictlab::lab {

using namespace analysis;
using results::Table;
using results::task_table;

namespace {

using trace::ElementType;
using trace::Index;
using trace::Tensor;

constexpr Index kPositions = 8;
constexpr Index kRows = 2;

trace::ModelInfo two_heads_in_one_group(Index layers) {
  trace::ModelInfo model;
  model.layers = layers;
  model.query_heads = 2;
  model.kv_heads = 1;
  model.head_dim = 8;
  model.attention_scale = 1.0;
  model.sliding_windows.assign(static_cast<std::size_t>(layers), 0);
  return model;
}

std::vector<float> one_hot(Index position, Index size = kPositions) {
  std::vector<float> row(static_cast<std::size_t>(size), 0.0F);
  row[static_cast<std::size_t>(position)] = 1.0F;
  return row;
}

std::vector<float> even(Index positions) {
  std::vector<float> row(kPositions, 0.0F);
  for (Index j = 0; j < positions; ++j) row[static_cast<std::size_t>(j)] = 1.0F / static_cast<float>(positions);
  return row;
}

/// Both window rows of head 0 and of head 1.
using WindowRows = std::vector<std::vector<float>>;

struct Builder {
  explicit Builder(Index layers, Index future) : source(two_heads_in_one_group(layers)) {
    prompt.info.id = "p0";
    prompt.info.task = "needle";
    prompt.info.prompt_length = kPositions;
    prompt.info.future_length = future;
    prompt.info.window = kRows;
    for (Index layer = 0; layer < layers; ++layer) prompt.info.layers.push_back(layer);
    prompt.tokens.assign(static_cast<std::size_t>(kPositions + future), 0);
  }

  trace::LayerData& add_layer(const WindowRows& rows) {
    trace::LayerData layer;
    layer.shape = trace::layer_shape(source.model(), prompt.info, static_cast<Index>(prompt.layers.size()));
    layer.window_attention = Tensor(ElementType::kFloat32, 2, kRows, kPositions);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      layer.window_attention.set_row(static_cast<Index>(i) / kRows, static_cast<Index>(i) % kRows, rows[i]);
    }
    const Index all = kPositions + prompt.info.future_length;
    layer.attention_mass = Tensor(ElementType::kFloat32, 2, 1, kPositions);
    layer.future_mass = Tensor(ElementType::kFloat32, 2, 1, all);
    layer.output_norms = Tensor(ElementType::kFloat32, 2, 1, all);
    prompt.layers.push_back(std::move(layer));
    return prompt.layers.back();
  }

  ProfileTables tables(const LayerOptions& options = {.profile = {.sinks = 1, .recent = 1, .top = 0.125}}) {
    source.add_prompt(std::move(prompt));
    return profile_tables(source, options);
  }

  trace::MemoryTrace source;
  trace::MemoryTrace::Prompt prompt;
};

double at(const Table& table, std::size_t row, const char* column) {
  return table.number(row, table.column(column)).value();
}

TEST(ProfileTables, UniformAttentionHasAllTheDispersionThereIsAndNoShift) {
  Builder builder(1, 0);
  builder.add_layer({even(6), even(6), even(6), even(6)});
  const Table layers = builder.tables().layers;
  // The last 2 of 8 positions are the window: 2 heads, 2 rows, ln 6 each.
  EXPECT_NEAR(at(layers, 0, "dispersion"), 4 * std::log(6), 1e-5);
  EXPECT_NEAR(at(layers, 0, "dispersion_normalized"), 1.0, 1e-6);
  EXPECT_NEAR(at(layers, 0, "shift"), 0.0, 1e-12);
  EXPECT_NEAR(at(layers, 0, "preference"), 0.0, 1e-12);
}

TEST(ProfileTables, AttentionThatJumpsHasShiftAndNoDispersion) {
  Builder builder(1, 0);
  // Each head: position 0, then 1: the variance (divisor 1) of (1, 0) is 1/2 at both positions.
  builder.add_layer({one_hot(0), one_hot(1), one_hot(2), one_hot(3)});
  const Table layers = builder.tables().layers;
  EXPECT_NEAR(at(layers, 0, "shift"), 2.0, 1e-12);
  EXPECT_NEAR(at(layers, 0, "shift_normalized"), 1.0, 1e-12);
  EXPECT_NEAR(at(layers, 0, "dispersion"), 0.0, 1e-6);
}

TEST(ProfileTables, PreferencesAreRaisedToInverseTemperaturesAndSharedOut) {
  std::vector<float> half{.5F, .5F, 0, 0, 0, 0, 0, 0};
  std::vector<float> other{0, 0, .5F, .5F, 0, 0, 0, 0};
  Builder builder(2, 0);
  builder.add_layer({half, other, half, other});      // H = 4 ln 2, V = 2 heads * 4 * 1/8 = 1
  builder.add_layer({half, half, half, one_hot(0)});  // H = 3 ln 2, V = 2 positions * 1/8 = 1/4
  const Table layers = builder.tables({.profile = {.top = 0.125}, .tau1 = 0.5, .tau2 = 2.0}).layers;
  const double first = std::pow(4 * std::log(2), 2.0);
  const double second = std::pow(3 * std::log(2), 2.0) * 0.5;
  EXPECT_NEAR(at(layers, 0, "preference"), first, 1e-5);
  EXPECT_NEAR(at(layers, 1, "preference"), second, 1e-5);
  EXPECT_NEAR(at(layers, 0, "preference_share"), first / (first + second), 1e-6);
}

TEST(ProfileTables, LayersCompeteForTheLargestWindowSums) {
  Builder builder(2, 0);
  builder.add_layer({one_hot(0), one_hot(0), one_hot(1), one_hot(1)});  // two sums of 2
  builder.add_layer({even(6), even(6), even(6), even(6)});              // twelve of 1/3
  // Top sets of one position: 2 layers * 2 heads * 1 = the four largest sums.
  const Table layers = builder.tables().layers;
  EXPECT_DOUBLE_EQ(at(layers, 0, "retained_share"), 0.5);
  EXPECT_DOUBLE_EQ(at(layers, 1, "retained_share"), 0.5);
}

TEST(ProfileTables, SharingAKeptSetCostsWhatTheOtherHeadWanted) {
  Builder builder(1, 1);
  trace::LayerData& layer = builder.add_layer({one_hot(0), one_hot(0), one_hot(1), one_hot(1)});
  layer.future_mass.set_row(0, 0, one_hot(0, kPositions + 1));
  layer.future_mass.set_row(1, 0, one_hot(5, kPositions + 1));
  const Table layers = builder.tables().layers;
  EXPECT_DOUBLE_EQ(at(layers, 0, "group_cost"), 0.5);       // position 0 is shared, head 1 loses everything
  EXPECT_DOUBLE_EQ(at(layers, 0, "window_hit_rate"), 0.5);  // head 0 looked at 0 before, head 1 not at 5
  EXPECT_DOUBLE_EQ(at(layers, 0, "group_overlap"), 0.0);
  EXPECT_DOUBLE_EQ(at(layers, 0, "head_overlap"), 1.0);  // there is no other group
  EXPECT_DOUBLE_EQ(at(layers, 0, "run_length"), 1.0);
  EXPECT_DOUBLE_EQ(at(layers, 0, "lazy_mass"), 0.5);  // head 0 on the sink, head 1 on neither
}

TEST(ProfileTables, WithoutAFutureWhatIsJudgedByItIsEmpty) {
  Builder builder(1, 0);
  builder.add_layer({even(6), even(6), even(6), even(6)});
  const ProfileTables tables = builder.tables();
  EXPECT_FALSE(tables.layers.number(0, tables.layers.column("group_cost")));
  EXPECT_FALSE(tables.layers.number(0, tables.layers.column("window_hit_rate")));
  EXPECT_FALSE(tables.attention.number(0, tables.attention.column("retrieval_score")));
  EXPECT_EQ(tables.future.rows(), 0U);
}

TEST(ProfileTables, LayersThatLookAtTheSamePositionsOverlap) {
  Builder builder(3, 0);
  builder.add_layer({one_hot(2), one_hot(2), one_hot(2), one_hot(2)});
  builder.add_layer({one_hot(2), one_hot(2), even(6), even(6)});
  builder.add_layer({one_hot(4), one_hot(4), one_hot(4), one_hot(4)});
  const Table overlap = builder.tables().overlap;
  ASSERT_EQ(overlap.rows(), 9U);
  EXPECT_EQ(at(overlap, 0, "overlap"), 1.0);
  EXPECT_EQ(at(overlap, 1, "overlap"), 1.0);  // layers 0 and 1
  EXPECT_EQ(at(overlap, 2, "overlap"), 0.0);  // layers 0 and 2
}

TEST(ProfileTables, ConcentrationIsTheMassOnTheMostAttendedFraction) {
  Builder builder(1, 0);
  builder.add_layer({even(4), even(4), one_hot(0), one_hot(0)});
  const Table table = builder.tables().concentration;
  ASSERT_EQ(table.rows(), 2 * kFractions.size());
  EXPECT_EQ(at(table, 0, "fraction"), 0.01);
  EXPECT_DOUBLE_EQ(at(table, 0, "mass"), 0.25);                     // at least one position
  EXPECT_DOUBLE_EQ(at(table, kFractions.size() - 1, "mass"), 1.0);  // half of 8
  EXPECT_DOUBLE_EQ(at(table, kFractions.size(), "mass"), 1.0);
}

TEST(ProfileTables, EveryFutureQueryIsComparedWithTheWindowAndWithTheFirst) {
  Builder builder(1, 2);
  builder.prompt.info.tier = trace::Tier::kFull;
  builder.prompt.info.spans = {{"needle", 6, 7}};
  trace::LayerData& layer = builder.add_layer({one_hot(3), one_hot(3), one_hot(3), one_hot(3)});
  // Key j is the j-th unit vector; queries are 30 times the key they look for. Query 0 looks at 3, query 1 at 6.
  layer.keys = Tensor(ElementType::kFloat32, 1, kPositions + 2, 8);
  for (Index j = 0; j < 8; ++j) layer.keys.set_row(0, j, one_hot(j));
  layer.queries = Tensor(ElementType::kFloat32, 2, kRows + 2, 8);
  for (Index head = 0; head < 2; ++head) {
    for (Index t = 0; t < 2; ++t) {
      std::vector<float> query = one_hot(t == 0 ? 3 : 6);
      for (float& value : query) value *= 30.0F;
      layer.queries.set_row(head, kRows + t, query);
    }
  }
  layer.values = Tensor(ElementType::kFloat32, 1, kPositions + 2, 8);
  layer.query_mean = Tensor(ElementType::kFloat32, 2, 1, 8);
  layer.query_covariance = Tensor(ElementType::kFloat32, 2, 8, 8);
  const ProfileTables tables = builder.tables();
  ASSERT_EQ(tables.future.rows(), 2U);
  EXPECT_EQ(at(tables.future, 0, "hit_rate"), 1.0);
  EXPECT_EQ(at(tables.future, 0, "drift"), 0.0);
  EXPECT_EQ(at(tables.future, 1, "hit_rate"), 0.0);
  EXPECT_EQ(at(tables.future, 1, "drift"), 1.0);
  EXPECT_EQ(at(tables.attention, 0, "retrieval_score"), 0.5);
}

TEST(TaskTable, AveragesOverTheHeadsThenOverThePromptsOfATask) {
  Table layers({"prompt", "task", "layer", "dispersion"});
  Table attention({"prompt", "task", "layer", "head", "entropy_nats", "kind"});
  const auto add = [&](const char* prompt, const char* task, double dispersion, double first, double second) {
    layers.add_row({std::string(prompt), std::string(task), std::int64_t{0}, dispersion});
    attention.add_row(
        {std::string(prompt), std::string(task), std::int64_t{0}, std::int64_t{0}, first, std::string("local")});
    attention.add_row(
        {std::string(prompt), std::string(task), std::int64_t{0}, std::int64_t{1}, second, std::string("sink")});
  };
  add("a", "kv", 1, 1, 3);
  add("b", "kv", 3, 5, 7);
  add("c", "copy", 8, 0, 0);
  const Table table = task_table(layers, attention);
  ASSERT_EQ(table.rows(), 6U);  // 3 "tasks" times 2 quantities
  const auto mean_of = [&](const std::string& task, const std::string& quantity) {
    for (std::size_t r = 0; r < table.rows(); ++r) {
      if (table.text(r, 0) == task && table.text(r, 2) == quantity) return at(table, r, "mean");
    }
    return std::nan("");
  };
  EXPECT_EQ(mean_of("kv", "dispersion"), 2.0);
  EXPECT_EQ(mean_of("all", "dispersion"), 4.0);
  EXPECT_EQ(mean_of("kv", "entropy_nats"), 4.0);
  EXPECT_EQ(mean_of("copy", "entropy_nats"), 0.0);
}

}  // namespace
}  // namespace evictlab::lab
