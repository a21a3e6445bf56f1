// What holds for SnapKV and those that build on it, on random layers: bounds, totals, invariances.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "../random_layers.hpp"
#include "analysis/losses.hpp"
#include "sim/policy/pooling.hpp"

namespace evictlab::sim {
namespace {

using testing::corner_shapes;
using testing::kept_sets;
using testing::RandomLayers;
using testing::RandomShape;
using testing::reordered;

constexpr Index kSnapWindow = 12;

std::vector<std::int32_t> all_positions(Index n) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(n));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

// The candidates that a layer's sets were budgeted, the window not counted.
std::vector<Index> scored_budgets(const LayerRetention& layer, Index window) {
  std::vector<Index> budgets;
  for (const std::int32_t budget : layer.budgets) budgets.push_back(budget - window);
  return budgets;
}

Index sum_of(const std::vector<Index>& numbers) { return std::accumulate(numbers.begin(), numbers.end(), Index{0}); }

class SnapKvFamily : public ::testing::TestWithParam<RandomShape> {};
INSTANTIATE_TEST_SUITE_P(Shapes, SnapKvFamily, ::testing::ValuesIn(corner_shapes()),
                         [](const auto& shape) { return "Seed" + std::to_string(shape.param.seed); });

TEST_P(SnapKvFamily, KeepsEverythingBelowItsCapacityAndAtItButForAdaptiveTruncation) {
  const RandomLayers layers(GetParam());
  const Index n = GetParam().length;
  const std::string w = std::to_string(std::min(kSnapWindow, GetParam().window));
  // Not ada-pyramid: its first layer's share is clipped to the prompt, and then truncated as at n below.
  for (const char* name : {"snapkv", "pyramidkv", "ada-snapkv"}) {
    const std::string policy = std::string(name) + "(window=" + w + ")";
    for (const auto& layer : kept_sets(layers.kept(policy, static_cast<double>(n + 1)))) {
      for (const auto& set : layer) EXPECT_EQ(set, all_positions(n)) << policy;
    }
  }
  for (const std::string& policy : {"snapkv(window=" + w + ")", "h2o(window=" + w + ")", std::string("streaming-llm"),
                                    "ada-snapkv(floor_alpha=0,window=" + w + ")"}) {
    for (const auto& layer : kept_sets(layers.kept(policy, static_cast<double>(n)))) {
      for (const auto& set : layer) EXPECT_EQ(set, all_positions(n)) << policy;
    }
  }
  // int(b * 0.2) drops frac(b/5); what the blend loses beyond half a position is one position per head.
  const Index b = n - std::min(kSnapWindow, GetParam().window);
  const double dropped = 0.2 * static_cast<double>(b) - std::floor(0.2 * static_cast<double>(b));
  for (const LayerRetention& layer : layers.kept("ada-snapkv(window=" + w + ")", static_cast<double>(n)).layers) {
    for (Index set = 0; set < layer.sets(); ++set) {
      const auto kept = static_cast<Index>(layer.kept(set).size());
      EXPECT_GE(kept, n - 1);
      if (dropped < 0.5) {
        EXPECT_EQ(kept, n);
      }
    }
  }
}

TEST_P(SnapKvFamily, WorksAtTheSmallestBudgetAndRefusesOneBelow) {
  const RandomLayers layers(GetParam());
  const Index w = std::min(kSnapWindow, GetParam().window);
  for (const char* name : {"snapkv", "pyramidkv", "ada-snapkv", "ada-pyramid"}) {
    const std::string policy = std::string(name) + "(window=" + std::to_string(w) + ")";
    for (const auto& layer : kept_sets(layers.kept(policy, static_cast<double>(w)))) {
      for (const auto& set : layer) EXPECT_EQ(set.size(), static_cast<std::size_t>(w)) << policy;
    }
    EXPECT_THROW(layers.kept(policy, static_cast<double>(w) - 1), PolicyError) << policy;
    EXPECT_THROW(layers.kept(policy, 1), PolicyError) << policy;
  }
}

TEST_P(SnapKvFamily, TheBestBySumOfAttentionHasTheSmallestBoundOfAllSetsOfItsSizes) {
  // Ada-KV Theorem 3.2, judged by the window's own attention.
  RandomShape shape = GetParam();
  if (shape.length < 20) return;
  RandomLayers layers(shape);
  layers.change([&](trace::LayerData& layer) {
    std::vector<float> row(static_cast<std::size_t>(shape.length));
    for (Index h = 0; h < shape.query_heads; ++h) {
      std::vector<float> mass(row.size() + 1, 0.0F);
      for (Index r = 0; r < layer.window_attention.rows(); ++r) {
        layer.window_attention.view().copy_row(h, r, row);
        for (std::size_t j = 0; j < row.size(); ++j) mass[j] += row[j];
      }
      layer.future_mass.set_row(h, 0, mass);
    }
  });
  const Retention best = layers.kept("snapkv(kernel=1,axis=query,budget_unit=authors,window=12)", 20);
  core::SplitMix64 random(shape.seed);
  for (std::size_t l = 0; l < best.layers.size(); ++l) {
    const trace::LayerData& layer = layers.data()[l];
    const auto bound = [&](const std::vector<std::vector<std::int32_t>>& sets) {
      const analysis::KeptSets kept(sets.begin(), sets.end());
      return analysis::SummaryReference(layer.shape, trace::future_view(layer)).losses(kept).bounds->ada;
    };
    const double smallest = bound(kept_sets(best)[l]);
    for (int attempt = 0; attempt < 20; ++attempt) {
      std::vector<std::vector<std::int32_t>> other;
      for (Index h = 0; h < shape.query_heads; ++h) {  // the window and 8 others
        std::vector<std::int32_t> set = all_positions(shape.length);
        for (std::size_t i = 0; i < 8; ++i) {
          const auto rest = static_cast<double>(shape.length - kSnapWindow) - static_cast<double>(i);
          std::swap(set[i], set[i + static_cast<std::size_t>(random.uniform() * rest)]);
        }
        set.erase(set.begin() + 8, set.end() - kSnapWindow);
        std::sort(set.begin(), set.end());
        other.push_back(set);
      }
      EXPECT_LE(smallest, bound(other) * (1 + 1e-9));
    }
  }
}

TEST_P(SnapKvFamily, HeadsThatCompeteRetainAtLeastWhatEqualHeadsDoOfTheScoresThemselves) {
  // Ada-KV Theorem 3.3: raw mean scores, no floor; and the counts add up exactly.
  const RandomLayers layers(GetParam());
  const Index n = GetParam().length;
  const Index w = std::min(kSnapWindow, GetParam().window);
  const std::string common = "kernel=1,window=" + std::to_string(w);
  const Policy raw = make_policy("snapkv(" + common + ")");
  for (const Index slots : {w + 1, w + 5, (w + n) / 2, n}) {
    if (slots > n) continue;
    const Retention even = layers.kept("snapkv(" + common + ")", static_cast<double>(slots));
    const Retention adaptive = layers.kept("ada-snapkv(floor_alpha=0," + common + ")", static_cast<double>(slots));
    for (std::size_t l = 0; l < even.layers.size(); ++l) {
      const trace::RowMatrix scores = *score_layer(raw, layers.views()[l]).scores;
      const auto retained = [&](const LayerRetention& layer) {
        double sum = 0.0;
        for (Index set = 0; set < layer.sets(); ++set) {
          for (const std::int32_t j : layer.kept(set)) sum += j < n - w ? double{scores(set, j)} : 0.0;
        }
        return sum;
      };
      EXPECT_GE(retained(adaptive.layers[l]), retained(even.layers[l]) * (1 - 1e-6));
      EXPECT_EQ(sum_of(scored_budgets(adaptive.layers[l], w)), (slots - w) * adaptive.layers[l].sets());
    }
  }
}

TEST_P(SnapKvFamily, AdaptiveTotalsMissTheirShareOnlyByTruncationAndRounding) {
  const RandomLayers layers(GetParam());
  const Index n = GetParam().length;
  const Index w = std::min(kSnapWindow, GetParam().window);
  for (const double alpha : {0.0, 0.2, 0.25, 0.5, 1.0}) {
    for (Index slots = w; slots <= n; slots += 3) {
      const Index b = slots - w;
      const double floor = alpha * static_cast<double>(b);
      const Retention kept =
          layers.kept(fmt::format("ada-snapkv(floor_alpha={},window={})", alpha, w), static_cast<double>(slots));
      for (const LayerRetention& layer : kept.layers) {
        const auto heads = static_cast<double>(layer.sets());
        const double expected = heads * (static_cast<double>(b) - (floor - std::floor(floor)));
        const auto budgets = scored_budgets(layer, w);
        EXPECT_NEAR(static_cast<double>(sum_of(budgets)), expected, heads / 2 + 1e-6) << alpha << " " << slots;
        if (alpha == 1.0) {
          EXPECT_THAT(budgets, ::testing::Each(b));
        }
      }
    }
  }
}

TEST_P(SnapKvFamily, KvpressTotalsAreExact) {
  const RandomLayers layers(GetParam());
  const Index n = GetParam().length;
  for (const char* name : {"ada-snapkv(variant=kvpress,window=5)", "critical-adakv(window=5)"}) {
    for (const Index slots : {Index{6}, n / 2, n - 1}) {
      if (slots <= 5) continue;
      for (const LayerRetention& layer : layers.kept(name, static_cast<double>(slots)).layers) {
        EXPECT_EQ(testing::stored(layer), slots * layer.sets()) << name << " " << slots;
      }
    }
  }
}

TEST_P(SnapKvFamily, AdaptiveEqualsUniformWhereHeadsCannotCompete) {
  const RandomLayers layers(GetParam());
  const Index n = GetParam().length;
  const Index w = std::min(kSnapWindow, GetParam().window);
  const double slots = static_cast<double>((w + n) / 2);
  const std::string window = "window=" + std::to_string(w);
  const auto even = kept_sets(layers.kept("snapkv(" + window + ")", slots));
  EXPECT_EQ(kept_sets(layers.kept("ada-snapkv(skip=100," + window + ")", slots)), even);
  EXPECT_EQ(kept_sets(layers.kept("ada-snapkv(floor_alpha=1," + window + ")", slots)), even);
  if (GetParam().kv_heads == 1) {
    EXPECT_EQ(kept_sets(layers.kept("ada-snapkv(floor_alpha=0," + window + ")", slots)), even);
  }
}

TEST(SnapKvFamilyInvariances, HeadsOfAGroupMayChangePlaces) {
  RandomLayers layers({.query_heads = 6, .kv_heads = 2, .seed = 11});
  const std::vector<std::string> policies = {"snapkv(window=12)",
                                             "snapkv(window=12,reduction=max)",
                                             "ada-snapkv(window=12)",
                                             "pyramidkv(window=12)",
                                             "snapkv(variant=kvpress,window=12)",
                                             "cake(window=12)",
                                             "windowkv(suffix=12)",
                                             "h2o(window=12)",
                                             "tova"};
  std::vector<Retention> before;
  for (const std::string& policy : policies) before.push_back(layers.kept(policy, 25));
  layers.change([](trace::LayerData& layer) {
    layer.window_attention = reordered(layer.window_attention, {2, 0, 1, 5, 3, 4});
    layer.attention_mass = reordered(layer.attention_mass, {2, 0, 1, 5, 3, 4});
  });
  for (std::size_t i = 0; i < policies.size(); ++i) {
    EXPECT_EQ(kept_sets(layers.kept(policies[i], 25)), kept_sets(before[i])) << policies[i];
  }
}

TEST(SnapKvFamilyInvariances, PermutedKvHeadsHavePermutedSetsAndBudgets) {
  RandomLayers layers({.query_heads = 6, .kv_heads = 3, .seed = 12});
  const std::vector<std::string> policies = {"snapkv(window=12)", "ada-snapkv(window=12)", "ada-pyramid(window=12)",
                                             "cake(window=12)", "criticalkv(window=12)"};
  std::vector<Retention> before;
  for (const std::string& policy : policies) before.push_back(layers.kept(policy, 25));
  layers.change([](trace::LayerData& layer) {
    layer.window_attention = reordered(layer.window_attention, {4, 5, 0, 1, 2, 3});
    layer.output_norms = reordered(layer.output_norms, {4, 5, 0, 1, 2, 3});
  });
  for (std::size_t i = 0; i < policies.size(); ++i) {
    const Retention after = layers.kept(policies[i], 25);
    for (std::size_t l = 0; l < after.layers.size(); ++l) {
      for (Index set = 0; set < 3; ++set) {
        const Index was = (set + 2) % 3;
        EXPECT_EQ(after.layers[l].kept_ascending(set), before[i].layers[l].kept_ascending(was)) << policies[i];
        EXPECT_EQ(after.layers[l].budgets[static_cast<std::size_t>(set)],
                  before[i].layers[l].budgets[static_cast<std::size_t>(was)]);
      }
    }
  }
}

TEST(SnapKvFamilyInvariances, ScalingTheAttentionByAPowerOfTwoChangesNothing) {
  RandomLayers layers({.seed = 13});
  const std::vector<std::string> policies = {"snapkv(window=12)", "ada-snapkv(window=12,normalize=yes)",
                                             "pyramidkv(window=12)", "dynamickv(window=6)", "windowkv(suffix=12)"};
  std::vector<Retention> before;
  for (const std::string& policy : policies) before.push_back(layers.kept(policy, 25));
  layers.change([](trace::LayerData& layer) {
    for (float& weight : layer.window_attention.floats()) weight *= 0.25F;
  });
  for (std::size_t i = 0; i < policies.size(); ++i) {
    EXPECT_EQ(kept_sets(layers.kept(policies[i], 25)), kept_sets(before[i])) << policies[i];
  }
}

TEST(SnapKvFamilyInvariances, WithoutGroupsTheAxesAgreeAndWithoutNeighboursThePoolings) {
  const RandomLayers own({.query_heads = 3, .kv_heads = 3, .seed = 14});
  for (const char* name : {"snapkv", "ada-snapkv", "pyramidkv"}) {
    const std::string policy = name;
    EXPECT_EQ(kept_sets(own.kept(policy + "(window=12)", 25)),
              kept_sets(own.kept(policy + "(window=12,axis=query)", 25)));
  }
  const RandomLayers grouped({.seed = 15});
  EXPECT_EQ(kept_sets(grouped.kept("snapkv(window=12,kernel=1)", 25)),
            kept_sets(grouped.kept("snapkv(window=12,kernel=1,pooling=avg)", 25)));
  EXPECT_EQ(kept_sets(grouped.kept("snapkv(window=12)", 25)),
            kept_sets(grouped.kept("snapkv(window=12,reduction=sum)", 25)));
  EXPECT_NE(kept_sets(grouped.kept("snapkv(window=12)", 25)),
            kept_sets(grouped.kept("snapkv(window=12,reduction=max)", 25)));
  EXPECT_NE(kept_sets(grouped.kept("snapkv(window=12)", 25)),
            kept_sets(grouped.kept("snapkv(window=12,order=pool-first)", 25)));
}

TEST(SnapKvFamilyInvariances, IdenticalHeadsGetIdenticalBudgets) {
  RandomLayers layers({.query_heads = 4, .kv_heads = 4, .seed = 16});
  layers.change([](trace::LayerData& layer) {
    layer.window_attention = reordered(layer.window_attention, {1, 1, 1, 1});
  });
  // Of equal scores the lower position of the lower head wins: at the cut heads differ by what a plateau leaves.
  for (const LayerRetention& layer : layers.kept("ada-snapkv(window=12,kernel=1,floor_alpha=0)", 25).layers) {
    EXPECT_THAT(scored_budgets(layer, 12), ::testing::Each(13));
  }
}

TEST(ShortPrompts, NoLongerThanTheWindowAreKeptWholeByEveryMethodThatHasOne) {
  // On which the authors' code crashes, for it pools nothing.
  for (const Index n : {Index{1}, Index{2}, Index{9}}) {
    const RandomLayers layers({.layers = 4, .length = n, .window = n, .seed = 18});
    for (const char* text : {"snapkv(window={})", "pyramidkv(window={})", "ada-snapkv(window={})",
                             "ada-pyramid(window={})", "dynamickv(window={},axis=kv)", "windowkv(suffix={})",
                             "cake(window={})", "cake(window={},variant=paper)", "criticalkv(window={})",
                             "critical-adakv(window={})", "chunkkv(window={})", "h2o(window={})", "tova(window={})"}) {
      const std::string policy = fmt::format(fmt::runtime(text), std::max<Index>(2, n));
      if (n == 1 && make_policy(policy).needs().window_rows > 1) continue;  // a window of 2 was not recorded
      for (const auto& layer : kept_sets(layers.kept(policy, static_cast<double>(n + 1)))) {
        for (const auto& set : layer) EXPECT_EQ(set, all_positions(n)) << policy;
      }
    }
  }
}

TEST(PyramidBudgets, FallByWholeStepsFromTheFirstLayerAndHoldAtLeastTheTotal) {
  const RandomLayers layers({.layers = 7, .query_heads = 2, .kv_heads = 1, .length = 400, .seed = 17});
  for (const Index beta : {1, 2, 5, 20, 1000}) {
    for (Index b = 0; b <= 388; b += 17) {
      const Retention kept =
          layers.kept(fmt::format("pyramidkv(window=12,beta={})", beta), static_cast<double>(b + 12));
      std::vector<Index> k;
      for (const LayerRetention& layer : kept.layers) k.push_back(layer.budgets.front() - 12);
      Index low = b / beta;
      Index high = 2 * b - low;
      if (high >= 388) std::tie(high, low) = std::pair(Index{388}, 2 * b - 388);
      EXPECT_EQ(k.front(), std::min<Index>(high, 388));
      EXPECT_GE(k.back(), std::min<Index>(low, 388));
      EXPECT_TRUE(std::is_sorted(k.rbegin(), k.rend()));
      EXPECT_GE(sum_of(k), 7 * b);
      EXPECT_LE(sum_of(k), 7 * b + 21);  // L (L - 1) / 2
    }
  }
  for (const auto& layer : kept_sets(layers.kept("pyramidkv(window=12)", 401))) EXPECT_EQ(layer[0], all_positions(400));
}

TEST(Pooling, AveragesCountTheirPaddingAndASinkSpreadsToItsNeighboursAlike) {
  const Eigen::RowVectorXd constant = Eigen::RowVectorXd::Constant(9, 3.0);
  const Eigen::RowVectorXd pooled_constant = pooled(constant, 5, Pooling::kAverage);
  const double expected[] = {1.8, 2.4, 3, 3, 3, 3, 3, 2.4, 1.8};
  for (Index j = 0; j < 9; ++j) EXPECT_DOUBLE_EQ(pooled_constant[j], expected[j]);
  Eigen::RowVectorXd sink = Eigen::RowVectorXd::Zero(9);
  sink[0] = 1.0;
  const Eigen::RowVectorXd pooled_sink = pooled(sink, 5, Pooling::kAverage);
  for (Index j = 0; j < 9; ++j) EXPECT_EQ(pooled_sink[j], j <= 2 ? 0.2 : 0.0);
}

// Bit for bit: the maximum ignores the padding, the average adds it as zeros, in order.
TEST(Pooling, GivesWhatALoopOverEveryNeighbourhoodGives) {
  std::mt19937 random(8);
  std::normal_distribution<double> normal;
  for (const Index size : {1, 2, 3, 6, 50, 1023, 1024, 1025, 3000}) {
    Eigen::RowVectorXd values(size);
    for (double& value : values) value = normal(random);
    for (const Index kernel : {1, 3, 5, 7, 9, 21, 63, 2001}) {
      const Eigen::RowVectorXd maxima = pooled(values, kernel, Pooling::kMax);
      const Eigen::RowVectorXd averages = pooled(values, kernel, Pooling::kAverage);
      for (Index j = 0; j < size; ++j) {
        double largest = -std::numeric_limits<double>::infinity();
        double sum = 0.0;
        for (Index i = std::max<Index>(0, j - kernel / 2); i <= std::min(size - 1, j + kernel / 2); ++i) {
          largest = std::max(largest, values[i]);
          sum += values[i];
        }
        ASSERT_EQ(maxima[j], largest) << size << " " << kernel << " " << j;
        ASSERT_EQ(averages[j], sum / static_cast<double>(kernel)) << size << " " << kernel << " " << j;
      }
    }
  }
}

}  // namespace
}  // namespace evictlab::sim
