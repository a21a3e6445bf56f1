#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "analysis/losses.hpp"
#include "core/parallel.hpp"
#include "random_layer.hpp"

namespace evictlab::analysis {
namespace {

using trace::Index;
using trace::LayerShape;
using OwnSets = std::vector<std::vector<std::int32_t>>;

LayerShape output_shape(Index n, Index future, Index sliding_window) {
  LayerShape shape;
  shape.layers = 1;
  shape.query_heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 8;
  shape.prompt_length = n;
  shape.future_length = future;
  shape.window = 1;
  shape.sliding_window = sliding_window;
  shape.attention_scale = 1 / std::sqrt(8.0);
  return shape;
}

// What the future queries lose, by plain loops in double over the very rows that the reference has.
OutputLosses by_rows(const RandomLayer& layer, const OutputReference& reference, const OwnSets& kept) {
  const LayerShape& shape = layer.data.shape;
  const Index n = shape.prompt_length;
  const Index hidden = layer.output_weight.cols();
  Eigen::MatrixXd y = Eigen::MatrixXd::Zero(shape.future_length, hidden);
  Eigen::MatrixXd change = y;
  OutputLosses losses;
  for (Index h = 0; h < shape.query_heads; ++h) {
    const Eigen::MatrixXd rows = reference.attention(h, 1).cast<double>();
    Eigen::MatrixXd held = rows;
    const auto& own = kept[static_cast<std::size_t>(h)];
    for (Index j = 0; j < n; ++j) {
      if (!std::ranges::binary_search(own, static_cast<std::int32_t>(j))) held.col(j).setZero();
    }
    Eigen::MatrixXd values(rows.cols(), shape.head_dim);
    Eigen::VectorXd norms(rows.cols());
    for (Index j = 0; j < rows.cols(); ++j) {
      norms[j] = layer.data.output_norms.view().float_row(h, 0)[static_cast<std::size_t>(j)];
      for (Index i = 0; i < shape.head_dim; ++i) values(j, i) = layer.value(h, j, i);
    }
    const Eigen::VectorXd lost_mass = (rows - held).rowwise().sum();
    const Eigen::VectorXd ratio = lost_mass.cwiseQuotient(held.rowwise().sum());
    const Eigen::MatrixXd delta = (rows - held) * values - ratio.asDiagonal() * (held * values);
    losses.value_bound += ((rows - held) * norms + ratio.cwiseProduct(held * norms)).sum();
    const Eigen::MatrixXd weight = layer.output_weight.middleRows(h * shape.head_dim, shape.head_dim).cast<double>();
    y += rows * values * weight;
    change += delta * weight;
  }
  const auto queries = static_cast<double>(shape.future_length);
  losses.value_bound /= queries;
  losses.exact_loss = change.lpNorm<1>() / queries;
  losses.relative_loss = change.lpNorm<1>() / y.lpNorm<1>();
  losses.squared_error = change.squaredNorm() / queries;
  for (Index t = 0; t < shape.future_length; ++t) {
    losses.output_relative_squared_error += change.row(t).squaredNorm() / y.row(t).squaredNorm() / queries;
    const double stream = layer.data.residual_norms.view().float_row(2, 0)[static_cast<std::size_t>(t)];
    losses.stream_relative_errors.push_back(static_cast<float>(change.row(t).norm() / stream));
  }
  FisherLoss& fisher = losses.fisher.emplace();
  const trace::TensorView gradients = layer.data.output_gradients.view();
  for (Index draw = 0; draw < gradients.heads(); ++draw) {
    const Eigen::VectorXd products =
        gradients.copy_head(draw).cast<double>().cwiseProduct(change).rowwise().sum();  // [T]
    fisher.loss += products.squaredNorm() / (2.0 * queries * static_cast<double>(gradients.heads()));
    fisher.sums.push_back(products.sum());
  }
  return losses;
}

void expect_equal_to_rounding(const OutputLosses& found, const OutputLosses& expected) {
  EXPECT_NEAR(found.value_bound, expected.value_bound, 1e-6 * expected.value_bound + 1e-12);
  EXPECT_NEAR(found.exact_loss, expected.exact_loss, 1e-6 * expected.exact_loss + 1e-12);
  EXPECT_NEAR(found.relative_loss, expected.relative_loss, 1e-6 * expected.relative_loss + 1e-12);
  EXPECT_NEAR(found.squared_error, expected.squared_error, 1e-6 * expected.squared_error + 1e-12);
  EXPECT_NEAR(found.output_relative_squared_error, expected.output_relative_squared_error,
              1e-6 * expected.output_relative_squared_error + 1e-12);
  ASSERT_EQ(found.stream_relative_errors.size(), expected.stream_relative_errors.size());
  double sum = 0;
  for (std::size_t t = 0; t < expected.stream_relative_errors.size(); ++t) {
    const double error = expected.stream_relative_errors[t];
    EXPECT_NEAR(found.stream_relative_errors[t], error, 1e-6 * error + 1e-9);
    sum += error * error / static_cast<double>(expected.stream_relative_errors.size());
  }
  EXPECT_NEAR(found.stream_relative_squared_error().value(), sum, 1e-5 * sum + 1e-12);
  const FisherLoss& fisher = expected.fisher.value();
  EXPECT_NEAR(found.fisher.value().loss, fisher.loss, 1e-5 * fisher.loss + 1e-12);
  ASSERT_EQ(found.fisher->sums.size(), fisher.sums.size());
  const double typical = std::sqrt(fisher.loss);
  for (std::size_t draw = 0; draw < fisher.sums.size(); ++draw) {
    EXPECT_NEAR(found.fisher->sums[draw], fisher.sums[draw], 1e-4 * typical + 1e-9);
  }
}

void expect_same_bits(const OutputLosses& found, const OutputLosses& expected) {
  EXPECT_EQ(found.value_bound, expected.value_bound);
  EXPECT_EQ(found.exact_loss, expected.exact_loss);
  EXPECT_EQ(found.relative_loss, expected.relative_loss);
  EXPECT_EQ(found.squared_error, expected.squared_error);
  if (!expected.fisher) return;
  EXPECT_EQ(found.fisher.value().loss, expected.fisher->loss);
  EXPECT_EQ(found.fisher->sums, expected.fisher->sums);
}

// A ranking for each query head, kv head or the whole layer, and for each of them a count in every run.
struct Runs {
  std::vector<std::int32_t> always;
  OwnSets ranked;                          // [sets]
  std::vector<std::vector<Index>> counts;  // [sets][runs]
  Index sharing = 1;

  std::vector<NestedSets> heads() const {
    std::vector<NestedSets> heads;
    for (std::size_t set = 0; set < ranked.size(); ++set) {
      for (Index i = 0; i < sharing; ++i) heads.push_back({always, ranked[set], counts[set]});
    }
    return heads;
  }
  OwnSets kept(std::size_t run) const {
    OwnSets sets;
    for (std::size_t set = 0; set < ranked.size(); ++set) {
      std::vector<std::int32_t> own = always;
      own.insert(own.end(), ranked[set].begin(), ranked[set].begin() + counts[set][run]);
      std::ranges::sort(own);
      for (Index i = 0; i < sharing; ++i) sets.push_back(own);
    }
    return sets;
  }
  Runs only(std::size_t run) const {
    Runs one = *this;
    for (auto& of_set : one.counts) of_set = {of_set[run]};
    return one;
  }
};

Runs random_runs(std::mt19937_64& random, const LayerShape& shape, Index sharing, std::size_t runs) {
  std::vector<std::int32_t> visible(static_cast<std::size_t>(shape.prompt_length - shape.first_visible()));
  std::iota(visible.begin(), visible.end(), static_cast<std::int32_t>(shape.first_visible()));
  Runs result{.always = {visible.end() - 4, visible.end()}, .ranked = {}, .counts = {}, .sharing = sharing};
  visible.resize(visible.size() - 4);
  for (Index set = 0; set < shape.query_heads / sharing; ++set) {
    std::shuffle(visible.begin(), visible.end(), random);
    result.ranked.push_back(visible);
    std::vector<Index>& counts = result.counts.emplace_back();
    for (std::size_t run = 0; run < runs; ++run) counts.push_back(static_cast<Index>(random() % (visible.size() + 1)));
  }
  return result;
}

TEST(OutputLosses, OfRunsThatShareRankingsAreThoseOfEachRunsOwnSets) {
  std::mt19937_64 random(3);
  for (const Index sliding_window : {Index{0}, Index{90}}) {
    for (const Index sharing : {1, 2, 4}) {  // each query head, each kv head, the layer
      for (const float peak : {0.3F, 4.0F}) {
        const LayerShape shape = output_shape(300, 11, sliding_window);
        const RandomLayer layer = random_layer(random, shape, 50, peak);
        const OutputReference reference(shape, future_view(layer.data), layer.output_weight);
        Runs runs = random_runs(random, shape, sharing, 8);
        for (std::size_t set = 0; set < runs.counts.size(); ++set) {
          runs.counts[set][0] = 0;
          runs.counts[set][1] = static_cast<Index>(runs.ranked[set].size()) - 1;  // one evicted
        }
        const std::vector<OutputLosses> found = reference.losses(runs.heads());
        for (std::size_t run = 0; run < 8; ++run) {
          SCOPED_TRACE(run);
          expect_equal_to_rounding(found[run], by_rows(layer, reference, runs.kept(run)));
          const OwnSets kept = runs.kept(run);
          expect_equal_to_rounding(found[run], reference.losses(KeptSets(kept.begin(), kept.end())));
        }
      }
    }
  }
}

TEST(OutputLosses, DependNeitherOnWhichOtherRunsAreAskedForNorOnThreads) {
  std::mt19937_64 random(29);
  const LayerShape shape = output_shape(400, 5, 0);
  const RandomLayer layer = random_layer(random, shape, 100, 1.0F);
  const Runs runs = random_runs(random, shape, 2, 20);
  const std::size_t threads = core::threads();
  core::set_threads(1);
  const std::vector<OutputLosses> together =
      OutputReference(shape, future_view(layer.data), layer.output_weight).losses(runs.heads());
  core::set_threads(4);
  const OutputReference reference(shape, future_view(layer.data), layer.output_weight);
  for (std::size_t run = 0; run < 20; ++run) {
    SCOPED_TRACE(run);
    expect_same_bits(reference.losses(runs.only(run).heads()).front(), together[run]);
  }
  core::set_threads(threads);
}

// One head's losses are the layer's where every other head holds everything.
TEST(OutputLosses, OfOneKvHeadAreTheLayersWhereAllOthersHoldEverything) {
  std::mt19937_64 random(17);
  for (const Index sliding_window : {0, 40}) {
    const LayerShape shape = output_shape(60, 9, sliding_window);
    const RandomLayer layer = random_layer(random, shape, 12, 2.0F);
    const OutputReference reference(shape, trace::future_view(layer.data), layer.output_weight);
    Runs runs = random_runs(random, shape, 2, 6);
    for (auto& counts : runs.counts) std::ranges::sort(counts);
    for (const Index g : {0, 1}) {
      const auto own = static_cast<std::size_t>(g);
      const NestedSets sets{runs.always, runs.ranked[own], runs.counts[own]};
      const Eigen::MatrixXf gram = output_gram(shape, layer.output_weight, g);
      std::vector<Index> everything(6, std::ssize(runs.ranked[1 - own]));
      std::vector<NestedSets> heads(4, {runs.always, runs.ranked[1 - own], everything});
      heads[2 * own] = heads[2 * own + 1] = sets;
      const std::vector<OutputLosses> expected = reference.losses(heads);
      const auto found = [&](ErrorUnit unit) { return reference.head_losses(g, sets, gram, unit); };
      for (std::size_t run = 0; run < 6; ++run) {
        const double squared = expected[run].squared_error;
        EXPECT_NEAR(found(ErrorUnit::kSquared)[run], squared, 1e-4 * squared + 1e-10);
        const double relative = expected[run].output_relative_squared_error;
        EXPECT_NEAR(found(ErrorUnit::kOutput)[run], relative, 1e-4 * relative + 1e-10);
        const double stream = expected[run].stream_relative_squared_error().value();
        EXPECT_NEAR(found(ErrorUnit::kStream)[run], stream, 1e-4 * stream + 1e-10);
        const double fisher = expected[run].fisher.value().loss;
        EXPECT_NEAR(found(ErrorUnit::kFisher)[run], fisher, 1e-4 * fisher + 1e-10);
      }
    }
  }
}

TEST(OutputLosses, AreExactlyNothingForRunsThatHoldAll) {
  std::mt19937_64 random(31);
  const LayerShape shape = output_shape(150, 3, 0);
  const RandomLayer layer = random_layer(random, shape, 10, 1.0F);
  const OutputReference reference(shape, future_view(layer.data), layer.output_weight);
  Runs runs = random_runs(random, shape, 1, 2);
  for (std::size_t set = 0; set < 4; ++set) runs.counts[set] = {3, static_cast<Index>(runs.ranked[set].size())};
  const std::vector<OutputLosses> found = reference.losses(runs.heads());
  EXPECT_GT(found[0].squared_error, 0);
  expect_same_bits(found[1], OutputLosses{});
  EXPECT_GT(found[0].fisher.value().loss, 0);
  EXPECT_EQ(found[1].fisher.value().loss, 0);
  EXPECT_EQ(found[1].fisher->sums, std::vector<double>(3, 0.0));
}

TEST(OutputLosses, HaveNoFisherLossWithoutGradients) {
  std::mt19937_64 random(47);
  const LayerShape shape = output_shape(20, 2, 0);
  RandomLayer layer = random_layer(random, shape, 10, 1.0F);
  layer.data.output_gradients = {};
  const OutputReference reference(shape, future_view(layer.data), layer.output_weight);
  const Runs runs = random_runs(random, shape, 1, 1);
  EXPECT_FALSE(reference.losses(runs.heads()).front().fisher.has_value());
  const Eigen::MatrixXf gram = output_gram(shape, layer.output_weight, 0);
  EXPECT_THROW(reference.head_losses(0, runs.heads().front(), gram, ErrorUnit::kFisher), std::invalid_argument);
}

// Sums 1, 2, 3 over two queries: s^2 / (2 T) = 1/4, 1, 9/4; mean 7/6, squared deviations 121/144, 1/36, 169/144, whose
// sum is 49/24: error sqrt(49/24 / 2 / 3).
TEST(FisherKl, IsTheMeanOfHalfTheSquaredSumsWithItsStandardError) {
  const std::vector<double> sums = {1, -2, 3};
  const FisherKl found = fisher_kl(sums, 2);
  EXPECT_DOUBLE_EQ(found.kl, 7.0 / 6.0);
  EXPECT_DOUBLE_EQ(found.error.value(), std::sqrt(49.0 / 24.0 / 6.0));
  EXPECT_FALSE(fisher_kl(std::vector<double>{2.0}, 1).error.has_value());
}

TEST(OutputLosses, RefuseCountsThatDoNotFitTheRankings) {
  std::mt19937_64 random(37);
  const LayerShape shape = output_shape(20, 2, 0);
  const RandomLayer layer = random_layer(random, shape, 10, 1.0F);
  const OutputReference reference(shape, future_view(layer.data), layer.output_weight);
  const Runs runs = random_runs(random, shape, 1, 2);
  std::vector<NestedSets> heads = runs.heads();
  EXPECT_THROW(reference.losses(std::span(heads).first(3)), std::invalid_argument);
  heads[2].counts = heads[2].counts.first(1);
  EXPECT_THROW(reference.losses(heads), std::invalid_argument);
  Runs too_many = runs;
  too_many.counts[1][0] = 17;
  EXPECT_THROW(reference.losses(too_many.heads()), std::invalid_argument);
}

TEST(OutputProjection, GivesTheNormsOfTheProductsWhateverTheirShape) {
  std::mt19937_64 random(41);
  std::normal_distribution<float> normal;
  for (const auto& [rows, columns, hidden] : {std::array<Index, 3>{1, 1, 1}, {13, 700, 50}, {16, 512, 96}}) {
    trace::RowMatrix weight(columns, hidden);
    for (Index i = 0; i < weight.size(); ++i) weight.data()[i] = normal(random);
    std::vector<TiledRows> tiled;
    Eigen::MatrixXd product[2];
    for (auto& expected : product) {
      TiledRows& own = tiled.emplace_back(rows, columns);
      Eigen::MatrixXd matrix(rows, columns);
      for (Index r = 0; r < rows; ++r) {
        for (Index c = 0; c < columns; ++c) {
          matrix(r, c) = own.tile(r / TiledRows::kRows, c)[r % TiledRows::kRows] = normal(random);
        }
      }
      expected = matrix * weight.cast<double>();
    }
    const std::vector<MatrixNorms> norms = OutputProjection(weight).norms(tiled);
    for (std::size_t m = 0; m < 2; ++m) {
      EXPECT_NEAR(norms[m].absolute, product[m].lpNorm<1>(), 1e-6 * product[m].lpNorm<1>());
      for (Index row = 0; row < rows; ++row) {
        const double expected = product[m].row(row).squaredNorm();
        EXPECT_NEAR(norms[m].squared[static_cast<std::size_t>(row)], expected, 1e-6 * product[m].squaredNorm());
      }
    }
  }
}

TEST(MeanOfLargestTenth, IsOfAtLeastOneValue) {
  EXPECT_EQ(mean_of_largest_tenth({}), 0.0);
  EXPECT_EQ(mean_of_largest_tenth({3.0F, 5.0F, 4.0F}), 5.0);
  std::vector<float> values(20);
  std::iota(values.begin(), values.end(), 0.0F);
  std::ranges::reverse(values);
  EXPECT_EQ(mean_of_largest_tenth(values), 18.5);
  values.push_back(100.0F);  // the tenth of 21 are three
  EXPECT_EQ(mean_of_largest_tenth(values), (100.0 + 19.0 + 18.0) / 3.0);
}

}  // namespace
}  // namespace evictlab::analysis
