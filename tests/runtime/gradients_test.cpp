// Gradients by attention outputs against finite differences of a forward pass in double.

#include "runtime/gradients.hpp"

#include <bit>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>

#include "core/parallel.hpp"
#include "core/random.hpp"
#include "double_twin.hpp"
#include "model_files.hpp"
#include "random_model.hpp"
#include "runtime/layer_weights.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using testing::DoubleTwin;
using testing::Moves;

constexpr Index kPrompt = 24;
constexpr Index kFuture = 6;

std::vector<std::filesystem::path> fixture_models() {
  std::vector<std::filesystem::path> models;
  for (const auto& entry : std::filesystem::directory_iterator(testing::kCheckpoints)) {
    models.push_back(entry.path());
    for (const auto& file : std::filesystem::directory_iterator(entry.path())) {
      if (file.path().extension() == ".gguf") models.back() = file.path();
    }
  }
  std::ranges::sort(models);
  return models;
}

/// A model that has read a prompt and its future.
struct ReadModel {
  ReadModel(const std::filesystem::path& path, Index prompt, Index future)
      : model(path), cache(model.make_cache(prompt + future)) {
    const std::vector<std::int32_t> tokens =
        testing::random_tokens(static_cast<int>(prompt + future), static_cast<int>(model.config().vocab_size));
    model.forward(std::span(tokens).first(static_cast<std::size_t>(prompt)), cache);
    model.forward(std::span(tokens).subspan(static_cast<std::size_t>(prompt)), cache, &states);
    for (Index layer = 0; layer < model.config().layers; ++layer) layers.push_back(layer);
  }

  std::map<Index, RowMatrix> gradients(Index draws, const LogitGradient& logit_gradient) const {
    std::map<Index, RowMatrix> all;
    attention_output_gradients(model, cache, states, draws, layers, logit_gradient,
                               [&](Index layer, const RowMatrix& own) { all[layer] = own; });
    return all;
  }

  Transformer model;
  KvCache cache;
  StreamStates states;
  std::vector<Index> layers;
};

Eigen::MatrixXd random_numbers(Index rows, Index columns, std::uint64_t seed) {
  core::SplitMix64 random(seed);
  return Eigen::MatrixXd::NullaryExpr(rows, columns, [&] { return 2.0 * random.uniform() - 1.0; });
}

double sign(Index draw, Index query, Index token) {
  return (random_signs("prompt", draw, query, token / 64) >> (token % 64) & 1U) != 0 ? 1.0 : -1.0;
}

TEST(GradientsTest, AreThoseOfFiniteDifferencesForEveryArchitecture) {
  constexpr Index kDraws = 3;
  constexpr double kStep = 1e-4;
  for (const std::filesystem::path& path : fixture_models()) {
    const ReadModel run(path, kPrompt, kFuture);
    const DoubleTwin twin(run.model, run.cache, run.states);
    const Eigen::MatrixXd roots = (0.5 * twin.log_probabilities(twin.nothing())).array().exp();
    const std::map<Index, RowMatrix> gradients = run.gradients(kDraws, random_sign_gradient("prompt"));
    ASSERT_EQ(gradients.size(), run.layers.size());
    for (const Index layer : run.layers) {
      Moves moves = twin.nothing();
      const Eigen::MatrixXd move = random_numbers(kFuture, run.model.config().hidden_size, 5);
      moves[static_cast<std::size_t>(layer)] = kStep * move;
      const Eigen::MatrixXd up = twin.log_probabilities(moves);
      moves[static_cast<std::size_t>(layer)] = -kStep * move;
      const Eigen::MatrixXd slope = (up - twin.log_probabilities(moves)) / (2.0 * kStep);
      for (Index draw = 0; draw < kDraws; ++draw) {
        double expected = 0.0;
        for (Index t = 0; t < kFuture; ++t) {
          for (Index v = 0; v < slope.cols(); ++v) expected += sign(draw, t, v) * roots(t, v) * slope(t, v);
        }
        const Eigen::MatrixXd own = gradients.at(layer).middleRows(draw * kFuture, kFuture).cast<double>();
        const double typical = own.norm() * move.norm() / std::sqrt(static_cast<double>(move.size()));
        EXPECT_GT(typical, 0.0);
        EXPECT_NEAR(own.cwiseProduct(move).sum(), expected, 1e-3 * typical)
            << path << " layer " << layer << " draw " << draw;
      }
    }
  }
}

TEST(GradientsTest, SeeWhatAnOutputDoesToLaterQueriesThroughItsKeysAndValues) {
  const testing::TemporaryDirectory directory;
  const ReadModel run(testing::write_random_model(directory / "model", {.layers = 3}), kPrompt, kFuture);
  const DoubleTwin twin(run.model, run.cache, run.states);
  constexpr Index kLast = kFuture - 1;
  constexpr std::size_t kToken = 7;
  // log p of a token at the last query alone: d/d(logit u) = [u = token] - p_u.
  const LogitGradient last_query = [](Index, Index query, std::span<const double> p, std::span<float> gradient) {
    for (std::size_t u = 0; u < p.size(); ++u) {
      gradient[u] = query == kLast ? static_cast<float>((u == kToken ? 1.0 : 0.0) - p[u]) : 0.0F;
    }
  };
  const std::map<Index, RowMatrix> gradients = run.gradients(1, last_query);
  for (Index t = 0; t < kFuture; ++t) {
    for (const Index layer : run.layers) {
      const Eigen::RowVectorXd move = random_numbers(1, run.model.config().hidden_size, 11);
      const auto moved = [&](double step) {
        Moves moves = twin.nothing();
        moves[static_cast<std::size_t>(layer)].row(t) = step * move;
        return twin.log_probabilities(moves)(kLast, kToken);
      };
      const double expected = (moved(1e-4) - moved(-1e-4)) / 2e-4;
      const double found = gradients.at(layer).row(t).cast<double>().dot(move);
      // What the last layer puts out is read by its own query alone.
      const bool reaches = t == kLast || layer < 2;
      EXPECT_EQ(std::abs(expected) > 1e-6, reaches) << t << ' ' << layer;
      EXPECT_NEAR(found, expected, 1e-3 * std::abs(expected) + 1e-7) << t << ' ' << layer;
    }
  }
}

TEST(GradientsTest, AreTheSameBitsOnAnyNumberOfThreadsAndWithAnyLayersAskedFor) {
  const testing::TemporaryDirectory directory;
  const ReadModel run(testing::write_random_model(directory / "model", {.layers = 4}), 40, 70);
  const auto gradients = [&](std::size_t threads) {
    core::set_threads(threads);
    auto all = run.gradients(20, random_sign_gradient("prompt"));
    core::set_threads(0);
    return all;
  };
  const auto one = gradients(1);
  const auto three = gradients(3);
  for (const Index layer : run.layers) EXPECT_TRUE(one.at(layer) == three.at(layer)) << layer;
  const Index some[] = {1, 3};
  std::vector<Index> given;
  attention_output_gradients(run.model, run.cache, run.states, 20, some, random_sign_gradient("prompt"),
                             [&](Index layer, const RowMatrix& own) {
                               given.push_back(layer);
                               EXPECT_TRUE(own == one.at(layer));
                             });
  EXPECT_EQ(given, (std::vector<Index>{3, 1}));
}

TEST(GradientsTest, OfADrawDoNotDependOnHowManyThereAre) {
  const testing::TemporaryDirectory directory;
  const ReadModel run(testing::write_random_model(directory / "model", {.layers = 2}), kPrompt, kFuture);
  const auto few = run.gradients(2, random_sign_gradient("prompt"));
  const auto many = run.gradients(9, random_sign_gradient("prompt"));
  for (const Index layer : run.layers) {
    const RowMatrix first = many.at(layer).topRows(2 * kFuture);
    EXPECT_LE((few.at(layer) - first).cwiseAbs().maxCoeff(), 1e-5F * first.cwiseAbs().maxCoeff()) << layer;
  }
}

TEST(TransposedProductsTest, MultiplyByStoredWeightsOfEveryFixture) {
  for (const std::filesystem::path& path : fixture_models()) {
    const Transformer model(path);
    for (const Linear* linear : {&model.layer_weights(0).query, &model.layer_weights(1).down, &model.output_head()}) {
      const WeightMatrix& weight = linear->weight;
      RowMatrix expanded(weight.rows(), weight.columns());
      weight.copy_rows(0, {expanded.data(), static_cast<std::size_t>(expanded.size())});
      for (const Index rows : {Index{1}, Index{8}, Index{50}}) {
        const RowMatrix dy = random_numbers(rows, weight.rows(), 3).cast<float>();
        RowMatrix dx(rows, weight.columns());
        apply_transposed(weight, dy, dx);
        const Eigen::MatrixXd expected = dy.cast<double>() * expanded.cast<double>();
        EXPECT_LE((dx.cast<double>() - expected).cwiseAbs().maxCoeff(), 1e-5 * expected.cwiseAbs().maxCoeff()) << path;
      }
    }
  }
}

TEST(RandomSignsTest, DifferByPromptDrawQueryAndTokenAndAreEvenlySpread) {
  int ones = 0;
  int agree = 0;
  for (Index draw = 0; draw < 32; ++draw) {
    for (Index query = 0; query < 8; ++query) {
      const std::uint64_t signs = random_signs("a", draw, query, 0);
      EXPECT_EQ(signs, random_signs("a", draw, query, 0));
      ones += std::popcount(signs);
      for (const std::uint64_t other : {random_signs("b", draw, query, 0), random_signs("a", draw + 1, query, 0),
                                        random_signs("a", draw, query + 1, 0), random_signs("a", draw, query, 1)}) {
        agree += std::popcount(~(signs ^ other));
      }
    }
  }
  // Of N even bits, N/2 and five standard deviations sqrt(N)/2: 16,384 of the first, 65,536 of the second.
  EXPECT_NEAR(ones, 8192, 320);
  EXPECT_NEAR(agree, 32768, 640);
}

TEST(StoredGradientsTest, AreHalvesTimesAPowerOfTwoThatFitsTheLargest) {
  for (const double size : {1e-9, 1.0, 3e6}) {
    const RowMatrix gradients = (size * random_numbers(6, 5, 2)).cast<float>();
    const trace::Tensor stored = stored_gradients(gradients, 2);
    ASSERT_EQ(stored.heads(), 2);
    ASSERT_EQ(stored.rows(), 3);
    int exponent = 0;
    EXPECT_EQ(std::frexp(stored.scale(), &exponent), 0.5F);
    const float largest = gradients.cwiseAbs().maxCoeff() * stored.scale();
    EXPECT_GE(largest, 8192.0F);
    EXPECT_LE(largest, 16384.0F);
    for (Index row = 0; row < 6; ++row) {
      std::vector<float> back(5);
      stored.view().copy_row(row / 3, row % 3, back);
      for (Index i = 0; i < 5; ++i) {
        EXPECT_NEAR(back[static_cast<std::size_t>(i)], gradients(row, i), 0x1p-11F * std::abs(gradients(row, i)));
      }
    }
  }
  EXPECT_EQ(stored_gradients(RowMatrix::Zero(2, 3), 1).scale(), 1.0F);
}

}  // namespace
}  // namespace evictlab::runtime
