#include "analysis/losses.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>

#include "random_layer.hpp"

namespace evictlab::analysis {
namespace {

using trace::Index;
using trace::LayerShape;
using Sets = std::vector<std::vector<std::int32_t>>;

KeptSets spans_of(const Sets& sets) { return KeptSets(sets.begin(), sets.end()); }

std::vector<std::int32_t> all_positions(Index n) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(n));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

LayerShape layer_shape(Index query_heads, Index kv_heads, Index head_dim, Index n, Index future) {
  LayerShape shape;
  shape.layers = 1;
  shape.query_heads = query_heads;
  shape.kv_heads = kv_heads;
  shape.head_dim = head_dim;
  shape.prompt_length = n;
  shape.future_length = future;
  shape.window = 1;
  shape.attention_scale = 1 / std::sqrt(static_cast<double>(head_dim));
  return shape;
}

// Each kv head's set, repeated for the query heads that share it.
Sets random_sets(std::mt19937_64& random, const LayerShape& shape) {
  Sets sets;
  for (Index h = 0; h < shape.query_heads; ++h) {
    if (h % shape.group_size() != 0) {
      sets.push_back(sets.back());
      continue;
    }
    std::vector<std::int32_t> positions = all_positions(shape.prompt_length);
    std::shuffle(positions.begin(), positions.end(), random);
    positions.resize(random() % (positions.size() + 1));
    std::sort(positions.begin(), positions.end());
    sets.push_back(positions);
  }
  return sets;
}

struct Expected {
  SummaryLosses summary;
  OutputLosses output;
};

// Design's definitions, query by query, in double.
Expected by_definition(const RandomLayer& layer, const Sets& kept) {
  const LayerShape& shape = layer.data.shape;
  const Index n = shape.prompt_length;
  const Index positions = n + shape.future_length;
  const Index hidden = layer.output_weight.cols();
  Expected expected;
  expected.summary.bounds.emplace();
  double kept_prompt = 0;
  double prompt = 0;
  double loss_sum = 0;
  double squares = 0;
  double output_sum = 0;
  std::vector<double> head_norm(static_cast<std::size_t>(shape.query_heads));
  const auto norm = [&](Index h, Index j) {
    return double{layer.data.output_norms.view().float_row(h, 0)[static_cast<std::size_t>(j)]};
  };
  for (Index h = 0; h < shape.query_heads; ++h) {
    for (Index j = 0; j < positions; ++j) {
      head_norm[static_cast<std::size_t>(h)] = std::max(head_norm[static_cast<std::size_t>(h)], norm(h, j));
    }
  }
  const double largest = *std::max_element(head_norm.begin(), head_norm.end());
  for (Index t = 0; t < shape.future_length; ++t) {
    std::vector<double> y(static_cast<std::size_t>(hidden));
    std::vector<double> held_y(y.size());
    for (Index h = 0; h < shape.query_heads; ++h) {
      const auto& row = layer.attention[static_cast<std::size_t>(h)][static_cast<std::size_t>(t)];
      const std::set<Index> set(kept[static_cast<std::size_t>(h)].begin(), kept[static_cast<std::size_t>(h)].end());
      const auto held = [&](Index j) { return j >= n || set.contains(j); };
      double m = 0;
      double evicted_weighted = 0;
      double kept_weighted = 0;
      double kept_norm = 0;
      for (Index j = 0; j < positions; ++j) {
        const double a = row[static_cast<std::size_t>(j)];
        (held(j) ? kept_weighted : evicted_weighted) += a * norm(h, j);
        if (held(j)) m += a;
        if (held(j)) kept_norm = std::max(kept_norm, norm(h, j));
        if (j < n) prompt += a;
        if (j < n && held(j)) kept_prompt += a;
      }
      expected.summary.retained_mass += m;
      expected.summary.bounds->ada += 2 * largest * (1 - m);
      expected.summary.bounds->head += 2 * head_norm[static_cast<std::size_t>(h)] * (1 - m);
      expected.summary.bounds->keptmax += evicted_weighted + (1 - m) * kept_norm;
      expected.output.value_bound += evicted_weighted + (1 - m) / m * kept_weighted;
      for (Index i = 0; i < shape.head_dim; ++i) {
        double o = 0;
        double held_o = 0;
        for (Index j = 0; j < positions; ++j) {
          const double part = row[static_cast<std::size_t>(j)] * layer.value(h, j, i);
          o += part;
          if (held(j)) held_o += part / m;
        }
        for (Index c = 0; c < hidden; ++c) {
          const double w = layer.output_weight(h * shape.head_dim + i, c);
          y[static_cast<std::size_t>(c)] += o * w;
          held_y[static_cast<std::size_t>(c)] += held_o * w;
        }
      }
    }
    for (std::size_t c = 0; c < y.size(); ++c) {
      output_sum += std::abs(y[c]);
      loss_sum += std::abs(y[c] - held_y[c]);
      squares += (y[c] - held_y[c]) * (y[c] - held_y[c]);
    }
  }
  const double queries = static_cast<double>(shape.future_length);
  expected.summary.retained_mass /= queries * static_cast<double>(shape.query_heads);
  expected.summary.prompt_retained_mass = kept_prompt / prompt;
  expected.summary.bounds->ada /= queries;
  expected.summary.bounds->head /= queries;
  expected.summary.bounds->keptmax /= queries;
  expected.output.value_bound /= queries;
  expected.output.exact_loss = loss_sum / queries;
  expected.output.relative_loss = loss_sum / output_sum;
  expected.output.squared_error = squares / queries;
  return expected;
}

void expect_close(double actual, double expected, double scale, const char* what) {
  EXPECT_NEAR(actual, expected, 2e-5 * scale) << what;
}

TEST(Losses, EqualTheirDefinitionsOnRandomLayers) {
  std::mt19937_64 random(7);
  const LayerShape shapes[] = {layer_shape(4, 2, 8, 40, 6), layer_shape(3, 1, 5, 17, 3), layer_shape(2, 2, 16, 600, 4)};
  for (LayerShape shape : shapes) {
    for (const Index sliding_window : {Index{0}, Index{9}}) {
      shape.sliding_window = sliding_window;
      for (const float peak : {0.3F, 3.0F}) {
        const RandomLayer layer = random_layer(random, shape, 12, peak);
        const trace::FutureView future = future_view(layer.data);
        const OutputReference reference(shape, future, layer.output_weight);
        for (int repeat = 0; repeat < 3; ++repeat) {
          const Sets kept = random_sets(random, shape);
          const Expected expected = by_definition(layer, kept);
          const SummaryLosses summary = SummaryReference(shape, future).losses(spans_of(kept));
          const double scale = expected.summary.bounds->ada + 1;
          expect_close(summary.retained_mass, expected.summary.retained_mass, 1, "retained mass");
          expect_close(summary.prompt_retained_mass, expected.summary.prompt_retained_mass, 1, "prompt mass");
          expect_close(summary.bounds->ada, expected.summary.bounds->ada, scale, "Ada-KV bound");
          expect_close(summary.bounds->head, expected.summary.bounds->head, scale, "per-head bound");
          expect_close(summary.bounds->keptmax, expected.summary.bounds->keptmax, scale, "kept-max bound");
          const OutputLosses output = reference.losses(spans_of(kept));
          expect_close(output.value_bound, expected.output.value_bound, scale, "value-aware bound");
          expect_close(output.exact_loss, expected.output.exact_loss, scale, "exact loss");
          expect_close(output.relative_loss, expected.output.relative_loss, 1, "relative loss");
          expect_close(output.squared_error, expected.output.squared_error, scale * scale, "squared error");
        }
      }
    }
  }
}

// exact <= value-aware <= kept-max <= per-head <= Ada-KV.
void expect_ordered(const SummaryLosses& summary, const OutputLosses& output, double tolerance) {
  const double bounds[] = {output.exact_loss, output.value_bound, summary.bounds->keptmax, summary.bounds->head,
                           summary.bounds->ada};
  for (std::size_t i = 1; i < std::size(bounds); ++i) {
    EXPECT_LE(bounds[i - 1], bounds[i] * (1 + tolerance) + 1e-6) << "bound " << i;
  }
}

TEST(Losses, AreOrderedOnThousandsOfRandomLayers) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 3000 && !::testing::Test::HasFailure(); ++i) {
    const Index kv_heads = 1 + static_cast<Index>(random() % 2);
    const Index group = 1 + static_cast<Index>(random() % 3);
    LayerShape shape = layer_shape(kv_heads * group, kv_heads, 1 + static_cast<Index>(random() % 4),
                                   1 + static_cast<Index>(random() % 12), 1 + static_cast<Index>(random() % 3));
    if (random() % 4 == 0) shape.sliding_window = 1 + static_cast<Index>(random() % 8);
    const float peak = i % 2 == 0 ? 1.0F : 6.0F;
    const RandomLayer layer = random_layer(random, shape, 1 + static_cast<Index>(random() % 5), peak);
    const Sets kept = random_sets(random, shape);
    const trace::FutureView future = future_view(layer.data);
    SCOPED_TRACE(i);
    expect_ordered(SummaryReference(shape, future).losses(spans_of(kept)),
                   OutputReference(shape, future, layer.output_weight).losses(spans_of(kept)), 1e-4);
  }
}

TEST(Losses, AreOrderedWithinTwoPercentForHalfPrecisionTraces) {
  std::mt19937_64 random(13);
  const LayerShape shape = layer_shape(4, 2, 16, 60, 4);
  for (int i = 0; i < 100; ++i) {
    // The recorder's mass comes from float keys; the trace keeps halves of them.
    RandomLayer layer = random_layer(random, shape, 8, 2.0F);
    for (const trace::Field field : {trace::Field::kQueries, trace::Field::kKeys, trace::Field::kValues}) {
      trace::Tensor& tensor = layer.data[field];
      trace::Tensor halves(trace::ElementType::kFloat16, tensor.heads(), tensor.rows(), tensor.columns());
      core::to_half(tensor.floats(), halves.halves());
      tensor = halves;
    }
    const Sets kept = random_sets(random, shape);
    const trace::FutureView future = future_view(layer.data);
    expect_ordered(SummaryReference(shape, future).losses(spans_of(kept)),
                   OutputReference(shape, future, layer.output_weight).losses(spans_of(kept)), 0.02);
  }
}

// A layer of one head, d = hidden = 1, W_O = 1: logits and values as given; queries are 1.
RandomLayer one_head(std::vector<float> logits, std::vector<float> values, Index n) {
  std::mt19937_64 random(1);
  LayerShape shape = layer_shape(1, 1, 1, n, static_cast<Index>(logits.size()) - n);
  RandomLayer layer = random_layer(random, shape, 1, 1);
  const double scale = layer.data.shape.attention_scale;
  layer.output_weight(0, 0) = 1;
  for (std::size_t j = 0; j < logits.size(); ++j) {
    layer.data.keys.set_row(0, static_cast<Index>(j), std::vector{logits[j] / static_cast<float>(scale)});
    layer.data.values.set_row(0, static_cast<Index>(j), std::vector{values[j]});
  }
  for (Index r = 0; r < layer.data.queries.rows(); ++r) layer.data.queries.set_row(0, r, std::vector{1.0F});
  std::vector<float> norms(values);
  for (float& x : norms) x = std::abs(x);
  layer.data.output_norms.set_row(0, 0, norms);
  return layer;
}

TEST(Losses, EveryBoundIsTightWhenTheEvictedValueOpposesTheKeptOne) {
  // Prompt position 0 with u = -5 and the query's own position 1 with u = 5, weights .3 and .7. Evicting 0:
  // y = -.3*5 + .7*5 = 2, y^ = 5, loss 3 = 2 * 5 * .3, which is the Ada-KV bound and hence all between.
  RandomLayer layer = one_head({std::log(.3F), std::log(.7F)}, {-5, 5}, 1);
  layer.data.future_mass.set_row(0, 0, std::vector{.3F, .7F});
  const Sets nothing(1);
  const SummaryLosses summary = SummaryReference(layer.data.shape, future_view(layer.data)).losses(spans_of(nothing));
  const OutputLosses output =
      OutputReference(layer.data.shape, future_view(layer.data), layer.output_weight).losses(spans_of(nothing));
  EXPECT_NEAR(summary.retained_mass, .7, 1e-6);
  EXPECT_EQ(summary.prompt_retained_mass, 0);
  EXPECT_NEAR(summary.bounds->ada, 3, 1e-6);
  EXPECT_NEAR(summary.bounds->head, 3, 1e-6);
  EXPECT_NEAR(summary.bounds->keptmax, 3, 1e-6);
  EXPECT_NEAR(output.value_bound, 3, 1e-6);
  EXPECT_NEAR(output.exact_loss, 3, 1e-6);
  EXPECT_NEAR(output.relative_loss, 1.5, 1e-6);
}

TEST(Losses, BoundsDifferAsTheirDefinitionsSay) {
  // Weights .2 .3 .1 .4 (one query), u = 1, -2, 10, 4 with position 3 the query's own; kept: 1. m = .3 + .4 = .7.
  //   y  = .2*1 - .3*2 + .1*10 + .4*4 = 2.2;  y^ = (-.6 + 1.6) / .7 = 1.428571;  loss = .771429
  //   evicted weighted = .2*1 + .1*10 = 1.2;  kept weighted = .6 + 1.6 = 2.2
  //   value-aware = 1.2 + .3/.7 * 2.2 = 2.142857;  kept-max = 1.2 + .3*4 = 2.4;  per-head = Ada-KV = 2*10*.3 = 6
  RandomLayer layer = one_head({std::log(.2F), std::log(.3F), std::log(.1F), std::log(.4F)}, {1, -2, 10, 4}, 3);
  layer.data.future_mass.set_row(0, 0, std::vector{.2F, .3F, .1F, .4F});
  const Sets kept{{1}};
  const SummaryLosses summary = SummaryReference(layer.data.shape, future_view(layer.data)).losses(spans_of(kept));
  const OutputLosses output =
      OutputReference(layer.data.shape, future_view(layer.data), layer.output_weight).losses(spans_of(kept));
  EXPECT_NEAR(summary.retained_mass, .7, 1e-6);
  EXPECT_NEAR(summary.prompt_retained_mass, .5, 1e-6);
  EXPECT_NEAR(output.exact_loss, .771429, 1e-5);
  EXPECT_NEAR(output.relative_loss, .771429 / 2.2, 1e-5);
  EXPECT_NEAR(output.squared_error, .771429 * .771429, 1e-5);
  EXPECT_NEAR(output.value_bound, 2.142857, 1e-5);
  EXPECT_NEAR(summary.bounds->keptmax, 2.4, 1e-5);
  EXPECT_NEAR(summary.bounds->head, 6, 1e-5);
  EXPECT_NEAR(summary.bounds->ada, 6, 1e-5);
}

TEST(Losses, TheAdaKvBoundTakesTheLargestNormOfAllHeads) {
  // Two heads that lose .25 each; largest norms 1 and 8: per-head 2*(1+8)*.25, Ada-KV 2*8*(.25+.25).
  RandomLayer layer;
  layer.data.shape = layer_shape(2, 2, 1, 1, 1);
  layer.data.future_mass = trace::Tensor(trace::ElementType::kFloat32, 2, 1, 2);
  layer.data.output_norms = trace::Tensor(trace::ElementType::kFloat32, 2, 1, 2);
  for (Index h = 0; h < 2; ++h) layer.data.future_mass.set_row(h, 0, std::vector{.25F, .75F});
  layer.data.output_norms.set_row(0, 0, std::vector{1.0F, 0.5F});
  layer.data.output_norms.set_row(1, 0, std::vector{2.0F, 8.0F});
  const Sets nothing(2);
  const SummaryLosses losses = SummaryReference(layer.data.shape, future_view(layer.data)).losses(spans_of(nothing));
  EXPECT_DOUBLE_EQ(losses.bounds->head, 4.5);
  EXPECT_DOUBLE_EQ(losses.bounds->ada, 8);
}

TEST(Losses, AFullCacheLosesExactlyNothing) {
  std::mt19937_64 random(17);
  for (const Index n : {1, 33, 700}) {
    const LayerShape shape = layer_shape(4, 2, 8, n, 5);
    const RandomLayer layer = random_layer(random, shape, 6, 2.0F);
    const Sets everything(4, all_positions(n));
    const SummaryLosses summary = SummaryReference(shape, future_view(layer.data)).losses(spans_of(everything));
    EXPECT_EQ(summary.retained_mass, 1);
    EXPECT_EQ(summary.prompt_retained_mass, 1);
    EXPECT_EQ(summary.bounds->ada, 0);
    EXPECT_EQ(summary.bounds->head, 0);
    EXPECT_EQ(summary.bounds->keptmax, 0);
    const OutputLosses output =
        OutputReference(shape, future_view(layer.data), layer.output_weight).losses(spans_of(everything));
    EXPECT_EQ(output.value_bound, 0);
    EXPECT_EQ(output.exact_loss, 0);
    EXPECT_EQ(output.relative_loss, 0);
    EXPECT_EQ(output.squared_error, 0);
  }
}

TEST(Losses, EvictingWhatNoSlidingWindowReachesCostsNothing) {
  // Future queries at 20..22 with a window of 8 see 13 and later; holding 13..19 is as good as all.
  std::mt19937_64 random(19);
  LayerShape shape = layer_shape(2, 1, 4, 20, 3);
  shape.sliding_window = 8;
  const RandomLayer layer = random_layer(random, shape, 6, 1.0F);
  std::vector<std::int32_t> reachable = all_positions(20);
  reachable.erase(reachable.begin(), reachable.begin() + 13);
  const OutputReference reference(shape, future_view(layer.data), layer.output_weight);
  EXPECT_EQ(SummaryReference(shape, future_view(layer.data)).losses(spans_of(Sets(2, reachable))).retained_mass, 1);
  EXPECT_EQ(reference.losses(spans_of(Sets(2, reachable))).exact_loss, 0);
  reachable.erase(reachable.begin());
  EXPECT_LT(SummaryReference(shape, future_view(layer.data)).losses(spans_of(Sets(2, reachable))).retained_mass, 1);
  EXPECT_GT(reference.losses(spans_of(Sets(2, reachable))).exact_loss, 0);
}

TEST(Losses, AQueryLeftWithAlmostNothingStillGivesFiniteLosses) {
  // The prompt position outweighs the query's own by e^1000, whose weight underflows to 0: y^ = 0, so the loss is
  // all of y.
  const RandomLayer layer = one_head({1000, 0}, {3, 4}, 1);
  const OutputReference reference(layer.data.shape, future_view(layer.data), layer.output_weight);
  const OutputLosses output = reference.losses(spans_of(Sets(1)));
  EXPECT_NEAR(output.exact_loss, 3, 1e-6);
  EXPECT_NEAR(output.value_bound, 3, 1e-6);
  EXPECT_NEAR(output.relative_loss, 1, 1e-6);
}

TEST(Losses, ATinyRetainedMassIsSummedAndNotLeftOverFromASubtraction) {
  // Own weight e^-25 of the prompt position's: m = 1.4e-11, y^ = 4 all the same, loss |3 - 4|; both sets have
  // one position, so the evicted one would be summed first.
  const RandomLayer layer = one_head({25, 0}, {3, 4}, 1);
  const OutputReference reference(layer.data.shape, future_view(layer.data), layer.output_weight);
  EXPECT_NEAR(reference.losses(spans_of(Sets(1))).exact_loss, 1, 1e-5);
}

TEST(Losses, RefuseSetsThatAreNone) {
  std::mt19937_64 random(23);
  const LayerShape shape = layer_shape(2, 1, 4, 5, 1);
  const RandomLayer layer = random_layer(random, shape, 6, 1.0F);
  const trace::FutureView future = future_view(layer.data);
  EXPECT_THROW(SummaryReference(shape, future).losses(spans_of({{1}})), std::invalid_argument);  // one set, two heads
  EXPECT_THROW(SummaryReference(shape, future).losses(spans_of({{1}, {5}})), std::invalid_argument);  // 5 is the future
  EXPECT_THROW(SummaryReference(shape, future).losses(spans_of({{1}, {3, 2}})), std::invalid_argument);   // descending
  EXPECT_THROW(SummaryReference(shape, future).losses(spans_of({{1}, {2, 2}})), std::invalid_argument);   // twice
  EXPECT_THROW(SummaryReference(shape, future).losses(spans_of({{1}, {-1, 2}})), std::invalid_argument);  // negative
  EXPECT_NO_THROW(SummaryReference(shape, future).losses(spans_of({{1}, {0, 4}})));
}

// The running sums of every prefix of a shuffled order against the sums of that prefix alone.
TEST(SummaryLosses, RunningSumsInAnOrderGiveEveryPrefixsLossesAtOnce) {
  std::mt19937_64 random(5);
  const LayerShape shape = layer_shape(4, 2, 4, 50, 3);
  const RandomLayer layer = random_layer(random, shape, 12, 1.0F);
  const trace::FutureView future = future_view(layer.data);
  const SummaryReference reference(shape, future);
  std::vector<std::int32_t> order = all_positions(50);
  std::shuffle(order.begin(), order.end(), random);
  const std::vector<std::int32_t> always(order.begin(), order.begin() + 5);
  const std::vector<std::int32_t> ranked(order.begin() + 5, order.end());
  std::vector<Index> counts(46);
  std::iota(counts.begin(), counts.end(), 0);

  std::vector<std::vector<KeptSums>> by_count(counts.size(), std::vector<KeptSums>(4));
  std::vector<KeptSums> sums(counts.size());
  for (Index head = 0; head < 4; ++head) {
    reference.sums_in_order(head, always, ranked, counts, sums);
    for (std::size_t i = 0; i < counts.size(); ++i) by_count[i][static_cast<std::size_t>(head)] = sums[i];
    for (const Index alone : {0, 7, 8, 9, 45}) {  // what else is asked for changes no bit
      std::vector<KeptSums> one(1);
      reference.sums_in_order(head, always, ranked, std::vector<Index>{alone}, one);
      EXPECT_EQ(one[0].mass, sums[static_cast<std::size_t>(alone)].mass);
      EXPECT_EQ(one[0].weighted, sums[static_cast<std::size_t>(alone)].weighted);
      EXPECT_EQ(one[0].largest_norm, sums[static_cast<std::size_t>(alone)].largest_norm);
    }
  }
  for (std::size_t i = 0; i < counts.size(); ++i) {
    std::vector<std::int32_t> kept(order.begin(), order.begin() + 5 + static_cast<std::ptrdiff_t>(i));
    std::sort(kept.begin(), kept.end());
    const SummaryLosses expected = reference.losses(spans_of(Sets(4, kept)));
    const SummaryLosses found = reference.losses(by_count[i]);
    EXPECT_NEAR(found.retained_mass, expected.retained_mass, 1e-12) << i;
    EXPECT_NEAR(found.prompt_retained_mass, expected.prompt_retained_mass, 1e-12) << i;
    EXPECT_NEAR(found.bounds->ada, expected.bounds->ada, 1e-9) << i;
    EXPECT_NEAR(found.bounds->head, expected.bounds->head, 1e-9) << i;
    EXPECT_NEAR(found.bounds->keptmax, expected.bounds->keptmax, 1e-9) << i;
  }
  std::vector<KeptSums> everything;
  for (Index head = 0; head < 4; ++head) everything.push_back(reference.everything(head));
  EXPECT_EQ(reference.losses(everything).retained_mass, 1.0);
  EXPECT_EQ(reference.losses(everything).bounds->keptmax, 0.0);
}

}  // namespace
}  // namespace evictlab::analysis
