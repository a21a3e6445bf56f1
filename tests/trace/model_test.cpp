#include "trace/model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sample.hpp"

namespace evictlab::trace {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

TEST(LayerShape, GroupsOfQueryHeadsShareAKvHead) {
  LayerShape shape;
  shape.query_heads = 6;
  shape.kv_heads = 2;
  EXPECT_EQ(shape.kv_head_of(0), 0);
  EXPECT_EQ(shape.kv_head_of(2), 0);
  EXPECT_EQ(shape.kv_head_of(3), 1);
  EXPECT_EQ(shape.kv_head_of(5), 1);
}

TEST(LayerShape, TheFirstVisiblePositionIsWhatTheFirstFutureQuerySees) {
  LayerShape shape;
  shape.prompt_length = 10;
  EXPECT_EQ(shape.first_visible(), 0);
  // The query at position 10 sees itself and three before: 7, 8, 9, 10.
  shape.sliding_window = 4;
  EXPECT_EQ(shape.first_visible(), 7);
  shape.sliding_window = 11;
  EXPECT_EQ(shape.first_visible(), 0);
  shape.sliding_window = 1;
  EXPECT_EQ(shape.first_visible(), 10);
}

TEST(LayerView, ShowsThePromptAndNothingOfTheFuture) {
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1);
  const LayerData& layer = prompt.layers[0];
  const LayerView view = layer_view(layer);
  EXPECT_EQ(view.output_norms.columns(), 37);
  EXPECT_EQ(view.keys.rows(), 37);
  EXPECT_EQ(view.values.rows(), 37);
  EXPECT_EQ(view.window_queries.rows(), 9);
  EXPECT_EQ(view.window_attention.rows(), 9);
  EXPECT_EQ(view.query_count, 33);
  EXPECT_EQ(view.future, nullptr);
  EXPECT_EQ(view.keys.copy_head(1), layer.keys.view().copy_head(1).topRows(37));
}

TEST(FutureView, ShowsTheFuturesQueriesAndAllPositions) {
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1);
  const LayerData& layer = prompt.layers[0];
  const FutureView view = future_view(layer);
  EXPECT_EQ(view.mass.columns(), 41);
  EXPECT_EQ(view.keys.rows(), 41);
  EXPECT_EQ(view.queries.copy_head(5), layer.queries.view().copy_head(5).bottomRows(4));
}

TEST(LayerView, WhatWasNotRecordedIsEmpty) {
  Sample summary;
  summary.tier = Tier::kSummary;
  const MemoryTrace::Prompt prompt = sample_prompt("a", 1, summary);
  const LayerView view = layer_view(prompt.layers[0]);
  EXPECT_TRUE(view.keys.empty());
  EXPECT_TRUE(view.window_queries.empty());
  EXPECT_TRUE(future_view(prompt.layers[0]).queries.empty());
  EXPECT_FALSE(view.window_attention.empty());
}

TEST(PromptInfo, HasGradientsWhereDrawsOfThemWereRecorded) {
  PromptInfo info = sample_prompt("a", 1).info;
  EXPECT_EQ(info.recorded(), kSampleFields);
  EXPECT_EQ(field_shape(Field::kOutputGradients, layer_shape(sample_model(), info, 0)).heads, 2);
  info.gradient_draws = 0;
  EXPECT_EQ(info.recorded(), kFullFields);
}

TEST(AllowedScales, OfGradientsAreThePowersOfTwo) {
  for (const double scale : {0x1p-126, 0.5, 1.0, 0x1p30}) EXPECT_TRUE(allows_scale(Field::kOutputGradients, scale));
  for (const double scale : {0.0, -2.0, 3.0, 0x1p200, HUGE_VAL}) {
    EXPECT_FALSE(allows_scale(Field::kOutputGradients, scale)) << scale;
  }
  EXPECT_TRUE(allows_scale(Field::kWindowAttention, 32768.0));
  EXPECT_FALSE(allows_scale(Field::kWindowAttention, 2.0));
  EXPECT_FALSE(allows_scale(Field::kKeys, 2.0));
}

TEST(MemoryTrace, ServesTheAskedForFieldsAlone) {
  MemoryTrace trace(sample_model());
  trace.add_prompt(sample_prompt("a", 1));
  const LayerData layer = trace.layer(0, 1, Field::kKeys);
  EXPECT_FALSE(layer.keys.empty());
  EXPECT_TRUE(layer.values.empty());
  EXPECT_EQ(layer.shape.sliding_window, 12);
  EXPECT_EQ(layer.shape.layer, 1);
}

TEST(MemoryTrace, RefusesWhatWasNotRecorded) {
  MemoryTrace trace(sample_model());
  Sample sample;
  sample.tier = Tier::kSummary;
  sample.layers = {0, 2};
  trace.add_prompt(sample_prompt("a", 1, sample));
  EXPECT_THAT([&] { trace.layer(0, 1, kSummaryFields); },
              ThrowsMessage<TraceError>(HasSubstr("layer 1 was not recorded")));
  EXPECT_THAT([&] { trace.layer(0, 2, Field::kKeys); }, ThrowsMessage<TraceError>(HasSubstr("keys was not recorded")));
  EXPECT_THROW(trace.output_weight(0), TraceError);
  MemoryTrace::Prompt torn = sample_prompt("b", 2);
  torn.layers.pop_back();
  EXPECT_THROW(trace.add_prompt(std::move(torn)), TraceError);
}

TEST(Fields, AreSets) {
  const Fields some = Field::kKeys | Field::kValues;
  EXPECT_TRUE(some.contains(Field::kKeys));
  EXPECT_FALSE(some.contains(Field::kQueries));
  EXPECT_TRUE(kFullFields.contains(kSummaryFields));
  EXPECT_FALSE(kSummaryFields.contains(Field::kKeys));
  EXPECT_TRUE(some.without(some).empty());
}

}  // namespace
}  // namespace evictlab::trace
