// Scores and measures of a layer whose rows are longer than what is worked on at once, by several threads, against
// their formulas spelled out.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "core/parallel.hpp"
#include "sim/policy/cake/formulas.hpp"
#include "sim/policy/pooling.hpp"
#include "sim/policy/scorer.hpp"
#include "trace/layer.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kRows = 4;
constexpr Index kLongWindow = 5;
constexpr Index kLongLength = 19'003;

// Recorded are 7 rows as halves times 2^15; seen are the last 17'500 positions.
const trace::LayerData& layer() {
  static const trace::LayerData data = [] {
    trace::LayerData made;
    made.shape.layers = 1;
    made.shape.query_heads = kRows;
    made.shape.kv_heads = 2;
    made.shape.prompt_length = kLongLength;
    made.shape.window = 7;
    made.shape.sliding_window = 17'500;
    made.window_attention = trace::Tensor(trace::ElementType::kFloat16, kRows, 7, kLongLength, 32768.0F);
    std::mt19937 random(1);
    for (core::Half& weight : made.window_attention.halves())
      weight.bits = static_cast<std::uint16_t>(random() % 0x6000);
    return made;
  }();
  return data;
}

// The weights of the last kLongWindow rows, before the window: [heads][kLongWindow][n - w - first].
struct Weights {
  Index first = layer().shape.first_visible();
  Index count = kLongLength - kLongWindow - first;
  std::vector<trace::RowMatrix> heads;
  Weights() {
    for (Index h = 0; h < kRows; ++h) {
      heads.push_back(layer().window_attention.view().copy_head(h).bottomRows(kLongWindow).middleCols(first, count));
    }
  }
  double sum(Index h, Index j) const { return heads[static_cast<std::size_t>(h)].col(j).cast<double>().sum(); }
};
const Weights& weights() {
  static const Weights only;
  return only;
}

trace::RowMatrix scores_of(const Scorer& scorer, std::size_t threads = 3) {
  core::set_threads(threads);
  trace::RowMatrix scores = trace::RowMatrix::Constant(set_count(scorer.granularity(), layer().shape), kLongLength,
                                                       std::numeric_limits<float>::quiet_NaN());
  scorer.score(trace::layer_view(layer()), scores);
  core::set_threads(0);
  return scores;
}

// Scores of every set, as expected(set's first head, its heads, position of `weights`) says.
void expect_scores(const Scorer& scorer, const std::function<double(Index, Index, Index)>& expected) {
  const trace::RowMatrix scores = scores_of(scorer);
  const Index heads = kRows / scores.rows();
  for (Index set = 0; set < scores.rows(); ++set) {
    for (Index j = 0; j < weights().count; ++j) {
      const double value = expected(set * heads, heads, j);
      ASSERT_NEAR(scores(set, weights().first + j), value, 2e-7 * value) << scorer.identity() << " " << set << " " << j;
    }
    EXPECT_TRUE(scores.row(set).head(weights().first).array().isNaN().all());
    EXPECT_TRUE(scores.row(set).tail(kLongWindow).array().isNaN().all());
  }
}

double reduce(Index first_head, Index heads, Reduction reduction, const std::function<double(Index)>& of) {
  double result = 0.0;
  for (Index h = first_head; h < first_head + heads; ++h) {
    result = reduction == Reduction::kMax ? std::max(result, of(h)) : result + of(h);
  }
  return reduction == Reduction::kMean ? result / static_cast<double>(heads) : result;
}

double pool(Index kernel, Pooling pooling, Index j, const std::function<double(Index)>& at) {
  double result = 0.0;
  for (Index i = std::max<Index>(0, j - kernel / 2); i <= std::min(weights().count - 1, j + kernel / 2); ++i) {
    result = pooling == Pooling::kMax ? std::max(result, at(i)) : result + at(i);
  }
  return pooling == Pooling::kAverage ? result / static_cast<double>(kernel) : result;
}

TEST(LongRows, WindowAttentionIsItsFormula) {
  for (const char* axis : {"kv", "query"}) {
    for (const Pooling pooling : {Pooling::kMax, Pooling::kAverage}) {
      for (const Reduction reduction : {Reduction::kMean, Reduction::kMax, Reduction::kSum}) {
        for (const bool pool_first : {false, true}) {
          const char* names[] = {"mean", "max", "sum"};
          const auto scorer = make_scorer({"window",
                                           {{"window", kLongWindow},
                                            {"kernel", 3},
                                            {"pooling", pooling == Pooling::kMax ? "max" : "avg"},
                                            {"order", pool_first ? "pool-first" : "reduce-first"},
                                            {"reduction", names[static_cast<int>(reduction)]},
                                            {"axis", axis}}});
          expect_scores(*scorer, [&](Index first_head, Index heads, Index j) {
            const auto vote = [](Index h, Index i) { return weights().sum(h, i) / static_cast<double>(kLongWindow); };
            if (pool_first) {
              return reduce(first_head, heads, reduction,
                            [&](Index h) { return pool(3, pooling, j, [&](Index i) { return vote(h, i); }); });
            }
            return pool(3, pooling, j, [&](Index i) {
              return reduce(first_head, heads, reduction, [&](Index h) { return vote(h, i); });
            });
          });
        }
      }
    }
  }
}

TEST(LongRows, MeanVarianceIsItsFormula) {
  const auto scorer = make_scorer({"mean-variance", {{"window", kLongWindow}, {"kernel", 5}, {"gamma", 200.0}}});
  const auto indicator = [](Index h, Index i) {
    const Eigen::ArrayXd column = weights().heads[static_cast<std::size_t>(h)].col(i).cast<double>();
    return column.mean() + 200.0 * (column - column.mean()).square().sum() / (kLongWindow - 1);
  };
  expect_scores(*scorer, [&](Index first_head, Index heads, Index j) {
    return reduce(first_head, heads, Reduction::kMean,
                  [&](Index h) { return pool(5, Pooling::kAverage, j, [&](Index i) { return indicator(h, i); }); });
  });
}

// Blocks of 24 are counted from position 0, so the first and the last one are seen in part.
TEST(LongRows, WindowBlocksAreTheirFormula) {
  for (const Index top : {0, 3, 30}) {
    const auto scorer = make_scorer({"window-blocks", {{"window", kLongWindow}, {"block", 24}, {"top", top}}});
    expect_scores(*scorer, [&](Index, Index, Index j) {
      const Index first = weights().first;
      const Index begin = std::max<Index>(0, (first + j) / 24 * 24 - first);
      const Index end = std::min(weights().count, ((first + j) / 24 + 1) * 24 - first);
      double worth = 0.0;
      std::size_t counted = 0;
      for (Index h = 0; h < kRows; ++h) {
        std::vector<double> sums;
        for (Index i = begin; i < end; ++i) sums.push_back(weights().sum(h, i));
        std::sort(sums.rbegin(), sums.rend());
        if (top > 0) sums.resize(std::min(sums.size(), static_cast<std::size_t>(top)));
        for (const double sum : sums) worth += sum;
        counted += sums.size();
      }
      return worth / static_cast<double>(counted);
    });
  }
}

TEST(LongRows, LastQueryIsTheMeanOverTheHeads) {
  const trace::RowMatrix scores = scores_of(*make_scorer({"last-query"}));
  for (Index j = 0; j < kLongLength; ++j) {
    double sum = 0.0;
    for (Index h = 0; h < kRows; ++h) {
      sum += static_cast<double>(
          core::to_float(layer().window_attention.view().half_row(h, 6)[static_cast<std::size_t>(j)]));
    }
    ASSERT_FLOAT_EQ(scores(0, j), static_cast<float>(sum / 32768.0 / kRows));
  }
}

TEST(LongRows, SpreadIsItsFormula) {
  const analysis::AttentionSpread spread = cake_spread(trace::layer_view(layer()), kLongWindow);
  double dispersion = 0.0;
  double shift = 0.0;
  for (const trace::RowMatrix& head : weights().heads) {
    for (Index j = 0; j < weights().count; ++j) {
      const Eigen::ArrayXd column = head.col(j).cast<double>();
      dispersion -= (column * (column + 1e-10).log()).sum();
      shift += (column - column.mean()).square().sum() / (kLongWindow - 1);
    }
  }
  EXPECT_NEAR(spread.dispersion, dispersion, 1e-6 * dispersion);
  EXPECT_NEAR(spread.shift, shift, 1e-12 * shift);
}

TEST(LongRows, NothingDependsOnTheNumberOfThreads) {
  const std::shared_ptr<const Scorer> scorers[] = {
      make_scorer({"window", {{"window", kLongWindow}, {"order", "pool-first"}}}),
      make_scorer({"window", {{"window", kLongWindow}, {"pooling", "avg"}, {"axis", "query"}}}),
      make_scorer({"mean-variance", {{"window", kLongWindow}}}), make_scorer({"window-blocks", {{"window", kLongWindow}}})};
  for (const auto& scorer : scorers) {
    const trace::RowMatrix alone = scores_of(*scorer, 1);
    const trace::RowMatrix together = scores_of(*scorer, 5);
    for (Index i = 0; i < alone.size(); ++i) {
      const float a = alone.data()[i];
      const float b = together.data()[i];
      ASSERT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << scorer->identity() << " " << i;
    }
  }
  core::set_threads(1);
  const analysis::AttentionSpread alone = cake_spread(trace::layer_view(layer()), kLongWindow);
  core::set_threads(5);
  const analysis::AttentionSpread together = cake_spread(trace::layer_view(layer()), kLongWindow);
  core::set_threads(0);
  EXPECT_EQ(alone.dispersion, together.dispersion);
  EXPECT_EQ(alone.shift, together.shift);
}

}  // namespace
}  // namespace evictlab::sim
