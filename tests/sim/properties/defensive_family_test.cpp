// What holds for the methods of 2025 and 2026 on random layers: DefensiveKV, LAVa, ReST-KV, DropKV, CAOTE, OBCache,
// R-KV, KVzip.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "../random_layers.hpp"
#include "sim/policy/allocators/entropy.hpp"

namespace evictlab::sim {
namespace {

using testing::corner_shapes;
using testing::kept_sets;
using testing::RandomLayers;
using testing::RandomShape;
using testing::reordered;
using testing::stored;

constexpr Index kLength = 60;

std::vector<std::int32_t> range(std::int32_t begin, std::int32_t end) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(end - begin));
  std::iota(positions.begin(), positions.end(), begin);
  return positions;
}

Index stored(const Retention& retention) {
  Index all = 0;
  for (const LayerRetention& layer : retention.layers) all += stored(layer);
  return all;
}

void scale(trace::Tensor& tensor, float factor) {
  for (float& value : tensor.floats()) value *= factor;
}

trace::RowMatrix scores(const char* policy, const trace::LayerView& layer) {
  return *score_layer(make_policy(policy), layer).scores;
}

// Every method that has one kept set per kv head, with a window of 8.
const std::vector<std::string>& methods() {
  static const std::vector<std::string> all = {
      "defensivekv(window=8)",
      "layer-defensivekv(window=8)",
      "defensivekv(window=8,variant=code)",
      "lava(window=8)",
      "lava(window=8,variant=paper)",
      "lava(window=8,normalize=yes,floor=layer)",
      "dropkv(window=8)",
      "caote(window=8)",
      "caote(window=8,variant=fast)",
      "caote(window=8,weights=mass)",
      "obcache(window=8)",
      "obcache(window=8,shrink=joint)",
      "r-kv",
      "kvzip",
      "kvzip(variant=kvpress)",
      "rest-kv(window=8,axis=kv)",
  };
  return all;
}

class DefensiveFamily : public ::testing::TestWithParam<RandomShape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, DefensiveFamily, ::testing::ValuesIn(corner_shapes()),
                         [](const auto& shape) { return "Seed" + std::to_string(shape.param.seed); });

TEST_P(DefensiveFamily, KeepsTheSameWhenTheHeadsOfAGroupChangePlaces) {
  const Index group = GetParam().query_heads / GetParam().kv_heads;
  if (group == 1) return;
  for (const std::string& policy : methods()) {
    RandomLayers layers(GetParam());
    const auto before = kept_sets(layers.kept(policy, 20));
    layers.change([&](trace::LayerData& layer) {
      std::vector<Index> order(static_cast<std::size_t>(layer.shape.query_heads));
      std::iota(order.begin(), order.end(), Index{0});
      for (Index g = 0; g < layer.shape.kv_heads; ++g) {
        std::reverse(order.begin() + g * group, order.begin() + (g + 1) * group);
      }
      for (trace::Tensor* tensor :
           {&layer.window_attention, &layer.attention_mass, &layer.output_norms, &layer.queries}) {
        *tensor = reordered(*tensor, order);
      }
      trace::RowMatrix weight(layer.output_weight->rows(), layer.output_weight->cols());
      const Index d = layer.shape.head_dim;
      for (std::size_t h = 0; h < order.size(); ++h) {
        weight.middleRows(static_cast<Index>(h) * d, d) = layer.output_weight->middleRows(order[h] * d, d);
      }
      layer.output_weight = std::make_shared<const trace::RowMatrix>(std::move(weight));
    });
    EXPECT_EQ(kept_sets(layers.kept(policy, 20)), before) << policy;
  }
}

// int(slots G) per layer, int(slots G L) in all, unless a window that is protected alone takes more.
TEST_P(DefensiveFamily, DefensiveKvHoldsItsTotalAndNoMore) {
  const RandomLayers layers(GetParam());
  const auto G = static_cast<double>(GetParam().kv_heads);
  const auto L = static_cast<double>(GetParam().layers);
  const Index all = GetParam().length * GetParam().kv_heads;
  for (const double slots : {8.0, 9.3, 20.9, 47.5, 59.9}) {
    for (const char* variant : {"repaired", "code"}) {
      const std::string parameters = std::string("(window=8,variant=") + variant + ")";
      for (const LayerRetention& layer : layers.kept("defensivekv" + parameters, slots).layers) {
        EXPECT_EQ(stored(layer), std::min(static_cast<Index>(slots * G), all)) << variant << " " << slots;
      }
      EXPECT_EQ(stored(layers.kept("layer-defensivekv" + parameters, slots)),
                std::min(static_cast<Index>(slots * G * L), all * GetParam().layers))
          << variant << " " << slots;
    }
  }
}

// (n - w) slots / n >= w and w slots / n G >= 1: all positions that tie with the layer's best fit.
TEST_P(DefensiveFamily, DefensiveKvOfTheCodeKeepsItsWindowWhereWhatTiesWithItFits) {
  if (GetParam().length < kLength) return;
  const RandomLayers layers(GetParam());
  const Index n = GetParam().length;
  const double slots = std::ceil(8.0 * static_cast<double>(n) / static_cast<double>(n - 8)) + 1.0;
  for (const auto& layer : kept_sets(layers.kept("defensivekv(window=8,variant=code)", slots))) {
    for (const auto& set : layer) {
      EXPECT_TRUE(std::ranges::includes(set, range(static_cast<std::int32_t>(n - 8), static_cast<std::int32_t>(n))));
    }
  }
}

TEST_P(DefensiveFamily, DefensiveKvOfOneLayerIsLayerDefensiveKv) {
  RandomShape shape = GetParam();
  shape.layers = 1;
  const RandomLayers layers(shape);
  for (const char* parameters : {"(window=8)", "(window=8,variant=code)"}) {
    EXPECT_EQ(kept_sets(layers.kept(std::string("defensivekv") + parameters, 20.5)),
              kept_sets(layers.kept(std::string("layer-defensivekv") + parameters, 20.5)));
  }
}

TEST_P(DefensiveFamily, DefensiveKvComparesOutputNormsBetweenHeadsOnly) {
  for (const char* name : {"defensivekv(window=8)", "layer-defensivekv(window=8)"}) {
    RandomLayers layers(GetParam());
    const auto before = kept_sets(layers.kept(name, 20));
    layers.change([](trace::LayerData& layer) { scale(layer.output_norms, layer.shape.layer == 0 ? 8.0F : 0.5F); });
    EXPECT_EQ(kept_sets(layers.kept(name, 20)), before) << name;
    if (GetParam().kv_heads > 1) continue;
    layers.change([](trace::LayerData& layer) {
      for (float& norm : layer.output_norms.floats()) norm = 1.0F;
    });
    EXPECT_EQ(kept_sets(layers.kept(name, 20)), before) << "one kv head has nothing to compare";
  }
}

// One head of 20 positions with a window of 4 at 2 slots: limit = int(16 * 2 / 20 - 4) = int(-2.4) = -2, so that all
// but the two positions of least attention tie with the window, and of equal scores the lower positions stay. With the
// limit mended the layer's best position alone ties with the window, which at 2 slots still loses to it: it must be
// protected.
TEST(DefensiveKv, OfTheCodeLosesItsWindowUnderANegativeLimitWhichTheDefaultMends) {
  const RandomLayers layers({.layers = 1, .query_heads = 1, .kv_heads = 1, .length = 20, .window = 8, .seed = 11});
  const auto code = kept_sets(layers.kept("defensivekv(window=4,variant=code)", 2));
  EXPECT_LE(code[0][0].back(), 3) << "the first two of all but two";
  const auto mended = kept_sets(layers.kept("defensivekv(window=4,variant=code,repair_limit=yes)", 2));
  const trace::RowMatrix own = scores("defensivekv(window=4)", layers.views()[0]);
  Index best = 0;
  own.leftCols(16).row(0).maxCoeff(&best);
  EXPECT_EQ(mended[0][0], (std::vector<std::int32_t>{static_cast<std::int32_t>(best), 16}));
  EXPECT_EQ(kept_sets(layers.kept("defensivekv(window=4)", 4))[0][0], range(16, 20));
}

// Shares of two sets (1 1 2 | 4 0 0): x = 1/8 1/8 1/4 1/2, entropy = (2 * 3/8 + 2/4 + 1/2) ln 2 = 1.75 ln 2, over ln 6.
TEST(Lava, PreferenceIsTheNormalisedEntropyOfAllScoresOfALayer) {
  trace::RowMatrix matrix(2, 4);
  matrix << 1, 1, 2, 9, 4, 0, 0, 9;
  const PositionRanges ranges({.prompt_length = 4}, {.recent = 1});
  EXPECT_NEAR(score_entropy(matrix, ranges), 1.75 * std::log(2.0) / std::log(6.0), 1e-12);
  matrix.setOnes();
  EXPECT_NEAR(score_entropy(matrix, ranges), 1.0, 1e-12);
  EXPECT_EQ(entropy_budgets(std::vector<double>{.5, .25, .25}, 10), (std::vector<Index>{5, 2, 2}));
}

TEST_P(DefensiveFamily, LavaNeverGivesALayerMoreThanBefore) {
  const RandomLayers layers(GetParam());
  for (const char* text :
       {"lava(window=8)", "lava(window=8,normalize=yes)", "lava(window=8,floor=layer,floor_alpha=0.5)"}) {
    const Policy policy = make_policy(text);
    Eviction eviction(policy, GetParam().layers, 20);
    std::vector<Index> before;
    for (const trace::LayerView& view : layers.views()) {
      eviction.observe(view);
      std::vector<Index> now;
      for (std::size_t l = 0; l <= static_cast<std::size_t>(view.shape.layer); ++l)
        now.push_back(stored(eviction.layer(l)));
      for (std::size_t l = 0; l < before.size(); ++l) EXPECT_LE(now[l], before[l]) << text << " layer " << l;
      before = now;
    }
  }
}

// Without a floor and weights, a set ends with its share of the G B_j best, whatever happened before.
TEST_P(DefensiveFamily, LavaWithoutAFloorEndsWhereOneCutWould) {
  if (GetParam().length < kLength) return;
  const RandomLayers layers(GetParam());
  const Policy policy = make_policy("lava(window=8,floor_alpha=0)");
  std::vector<double> entropies;
  for (const trace::LayerView& view : layers.views()) {
    entropies.push_back(score_entropy(*score_layer(policy, view).scores, policy.ranges(view.shape)));
  }
  const std::vector<Index> budgets = entropy_budgets(entropies, (20 - 8) * GetParam().layers);
  const Retention kept = layers.kept(policy.text(), 20);
  for (std::size_t l = 0; l < budgets.size(); ++l) {
    const Index sets = kept.layers[l].sets();
    EXPECT_EQ(stored(kept.layers[l]), sets * (8 + budgets[l])) << "layer " << l;
  }
}

TEST_P(DefensiveFamily, LavaDoesNotMindTheScaleOfALayersValues) {
  RandomLayers layers(GetParam());
  const auto before = kept_sets(layers.kept("lava(window=8)", 20));
  layers.change([](trace::LayerData& layer) { scale(layer.values, layer.shape.layer == 0 ? 16.0F : 0.25F); });
  EXPECT_EQ(kept_sets(layers.kept("lava(window=8)", 20)), before);
}

// The last query alone: what its output becomes when one position leaves and the rest renormalises.
TEST_P(DefensiveFamily, CaoteScoresTheExactErrorOfDroppingOnePosition) {
  const RandomLayers layers(GetParam());
  const trace::LayerView& view = layers.views().front();
  const Index n = view.shape.prompt_length;
  const trace::RowMatrix got = scores("caote(window=1,axis=query)", view);
  const trace::RowMatrix rest = scores("rest-kv(window=1,smoothing=none,average=errors,space=value)", view);
  for (Index h = 0; h < view.shape.query_heads; ++h) {
    const Eigen::RowVectorXd weights = view.window_attention.copy_head(h).bottomRows(1).cast<double>();
    const Eigen::MatrixXd values = view.values.copy_head(view.shape.kv_head_of(h)).cast<double>();
    const Eigen::RowVectorXd all = weights * values;
    for (Index j = 0; j + 1 < n; ++j) {
      Eigen::RowVectorXd others = weights;
      others[j] = 0.0;
      const double error = (all - (others * values) / others.sum()).norm();
      // Stored weights sum to 1 within float rounding only, which the score takes as 1.
      EXPECT_NEAR(static_cast<double>(got(h, j)), error, 1e-5 * (1.0 + error)) << "head " << h << " position " << j;
      EXPECT_FLOAT_EQ(rest(h, j), got(h, j));
    }
  }
}

TEST_P(DefensiveFamily, ErrorsInTheLayersOutputAreThoseOfWhatWOMakesOfValues) {
  const RandomLayers layers(GetParam());
  const trace::LayerView& view = layers.views().back();
  const trace::RowMatrix got = scores("rest-kv(window=1,smoothing=none,average=errors)", view);
  const Index d = view.shape.head_dim;
  for (Index h = 0; h < view.shape.query_heads; ++h) {
    const Eigen::RowVectorXd weights = view.window_attention.copy_head(h).bottomRows(1).cast<double>();
    const Eigen::MatrixXd projected = view.values.copy_head(view.shape.kv_head_of(h)).cast<double>() *
                                      view.output_weight->middleRows(h * d, d).cast<double>();
    const Eigen::RowVectorXd all = weights * projected;
    for (Index j = 0; j + 1 < view.shape.prompt_length; ++j) {
      const double error = weights[j] / (1.0 - weights[j]) * (all - projected.row(j)).norm();
      EXPECT_NEAR(static_cast<double>(got(h, j)), error, 1e-5 * (error + 1e-3));
    }
  }
}

TEST_P(DefensiveFamily, RestKvWithAlphaOneAsksTheNewestQueryAlone) {
  const RandomLayers layers(GetParam());
  const Index prefix = GetParam().length - 8;
  const trace::LayerView& view = layers.views()[0];
  const trace::RowMatrix newest = scores("rest-kv(window=8,smoothing=none,average=errors,alpha=1)", view);
  const trace::RowMatrix one = scores("rest-kv(window=1,smoothing=none,average=errors,rows=mean)", view);
  EXPECT_TRUE(newest.leftCols(prefix).isApprox(one.leftCols(prefix), 1e-5F));
}

// With a scale beyond the prompt nothing moves, and the kernel is 1: only sets that do not drift at all are shifted.
TEST(RestKv, SmoothsWithTheDriftOnlyWhereItIsAsLongAsTheScale) {
  const RandomLayers layers({.layers = 2, .length = 80, .window = 16, .seed = 21});
  EXPECT_EQ(kept_sets(layers.kept("rest-kv(window=8,kernel=1,scale=1000)", 30)),
            kept_sets(layers.kept("rest-kv(window=8,smoothing=none)", 30)));
  EXPECT_NE(kept_sets(layers.kept("rest-kv(window=8,kernel=1,scale=1)", 30)),
            kept_sets(layers.kept("rest-kv(window=8,smoothing=none)", 30)));
}

// One query head whose window pays position 0 all but 1e-6, where value and output nearly agree.
TEST(DropKv, KeepsASinkThatTakesAWholeRow) {
  RandomLayers layers({.layers = 1, .query_heads = 1, .kv_heads = 1, .length = 40, .window = 8, .seed = 5});
  layers.change([](trace::LayerData& layer) {
    std::vector<float> row(40, 1e-6F / 39.0F);
    row[0] = 1.0F - 1e-6F;
    for (Index t = 0; t < 8; ++t) layer.window_attention.set_row(0, t, row);
    for (float& value : layer.values.floats()) value = 30.0F + 1e-3F * value;
  });
  const trace::RowMatrix got = scores("dropkv(window=8,kernel=1)", layers.views()[0]);
  EXPECT_GT(got(0, 0), 0.0F);
  EXPECT_EQ(got.leftCols(32).maxCoeff(), got(0, 0));
}

// The derivative of a query's output by s, where the key, or the value, or both of one position are multiplied by s.
TEST_P(DefensiveFamily, ObcacheScoresTheResponseToShrinkingAPosition) {
  RandomLayers layers(GetParam());
  // Attention that follows from queries and keys.
  layers.change([](trace::LayerData& layer) {
    const trace::LayerShape& shape = layer.shape;
    for (Index h = 0; h < shape.query_heads; ++h) {
      const Eigen::MatrixXd q = layer.queries.view().copy_head(h).topRows(shape.window).cast<double>();
      const Eigen::MatrixXd k =
          layer.keys.view().copy_head(shape.kv_head_of(h)).topRows(shape.prompt_length).cast<double>();
      for (Index t = 0; t < shape.window; ++t) {
        Eigen::RowVectorXd row = (shape.attention_scale * (q.row(t) * k.transpose())).array().exp();
        for (Index j = shape.prompt_length - shape.window + t + 1; j < shape.prompt_length; ++j) row[j] = 0.0;
        const Eigen::RowVectorXf weights = (row / row.sum()).cast<float>();
        layer.window_attention.set_row(h, t, {weights.data(), static_cast<std::size_t>(weights.size())});
      }
    }
  });
  const trace::LayerView& view = layers.views().front();
  const trace::LayerShape& shape = view.shape;
  const auto output = [&](Index h, double s_key, double s_value, Index p) {
    const Eigen::MatrixXd q = view.window_queries.copy_head(h).bottomRows(1).cast<double>();
    Eigen::MatrixXd k = view.keys.copy_head(shape.kv_head_of(h)).cast<double>();
    Eigen::MatrixXd v = view.values.copy_head(shape.kv_head_of(h)).cast<double>();
    k.row(p) *= s_key;
    v.row(p) *= s_value;
    const Eigen::RowVectorXd weights = (shape.attention_scale * (q * k.transpose())).array().exp();
    return Eigen::RowVectorXd((weights * v) / weights.sum());
  };
  for (const std::string shrink : {"key", "value", "joint"}) {
    const trace::RowMatrix got = scores(("obcache(window=1,kernel=1,axis=query,shrink=" + shrink + ")").c_str(), view);
    for (const Index p : {Index{0}, Index{3}, shape.prompt_length - 2}) {
      constexpr double kStep = 1e-5;
      const double key = shrink == "value" ? 0.0 : kStep;
      const double value = shrink == "key" ? 0.0 : kStep;
      const double expected =
          ((output(0, 1 + key, 1 + value, p) - output(0, 1 - key, 1 - value, p)) / (2 * kStep)).squaredNorm();
      EXPECT_NEAR(static_cast<double>(got(0, p)), expected, 1e-3 * expected + 1e-9) << shrink << " position " << p;
    }
  }
}

TEST_P(DefensiveFamily, RKvWithoutAttentionIgnoresTheQueriesAndWithoutRedundancyOnlyOrdersByThem) {
  RandomLayers layers(GetParam());
  const auto before = kept_sets(layers.kept("r-kv(lambda=0)", 20));
  layers.change([](trace::LayerData& layer) { scale(layer.queries, -2.0F); });
  EXPECT_EQ(kept_sets(layers.kept("r-kv(lambda=0)", 20)), before);
}

// Equal keys are all alike: every row exempts the last other one, so that all but the last two positions have the same
// similarity, and lower positions stay. Behind them stand n - 2 and n - 1, whose similarity is smaller; both are in the
// window.
TEST(RKv, OfEqualKeysKeepsTheFirst) {
  RandomLayers layers({.layers = 1, .query_heads = 2, .kv_heads = 1, .length = 40, .window = 8, .seed = 5});
  layers.change([](trace::LayerData& layer) {
    for (float& value : layer.keys.floats()) value = 1.0F;
  });
  std::vector<std::int32_t> expected = range(0, 12);
  for (const std::int32_t position : range(32, 40)) expected.push_back(position);
  EXPECT_EQ(kept_sets(layers.kept("r-kv(lambda=0)", 20))[0][0], expected);
}

TEST_P(DefensiveFamily, KvzipHoldsOneLessThanItsSlotsAndKvpressAllOfThem) {
  const RandomLayers layers(GetParam());
  const Index all = GetParam().layers * GetParam().kv_heads * GetParam().length;
  Retention before;
  for (const double slots : {1.5, 7.9, 20.0, static_cast<double>(GetParam().length)}) {
    const auto total = std::min(all, static_cast<Index>(slots * static_cast<double>(all / GetParam().length)));
    Retention now = layers.kept("kvzip", slots);
    EXPECT_EQ(stored(now), total == all ? all : total - 1) << slots;
    EXPECT_EQ(stored(layers.kept("kvzip(variant=kvpress)", slots)), total) << slots;
    for (std::size_t l = 0; l < before.layers.size(); ++l) {
      for (Index set = 0; set < before.layers[l].sets(); ++set) {
        EXPECT_TRUE(std::ranges::includes(now.layers[l].kept_ascending(set), before.layers[l].kept_ascending(set)));
      }
    }
    before = std::move(now);
  }
}

// Equal scores at the end of the slots: none of them is held, and of kvpress' the last.
TEST(Kvzip, LeavesOutWhatTiesWithTheLastSlot) {
  RandomLayers layers({.layers = 1, .query_heads = 1, .kv_heads = 1, .length = 12, .window = 2, .seed = 1});
  layers.change([](trace::LayerData& layer) {
    const std::vector<float> row = {.9F, .5F, .5F, .5F, .1F, .8F, .1F, .1F, .1F, .1F, .1F, .1F};
    layer.repeat_attention.set_row(0, 0, row);
  });
  EXPECT_EQ(kept_sets(layers.kept("kvzip", 4))[0][0], (std::vector<std::int32_t>{0, 5}));
  EXPECT_EQ(kept_sets(layers.kept("kvzip(variant=kvpress,top=0)", 4))[0][0], (std::vector<std::int32_t>{0, 2, 3, 5}));
}

}  // namespace
}  // namespace evictlab::sim
