// Recorded gradients against what moving a model's attention outputs, in double, does to its next-token distributions.

#include "analysis/fisher.hpp"

#include <cmath>
#include <map>
#include <set>

#include "analysis/losses.hpp"
#include "double_twin.hpp"
#include "random_model.hpp"
#include "runtime/recorder.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::runtime {
namespace {

using testing::DoubleTwin;
using testing::Moves;

constexpr Index kVocabulary = 32;
constexpr Index kModelLayers = 3;
constexpr Index kFisherPrompt = 40;

/// A random model's recording of one prompt with gradients, and its twin in double.
struct RecordedFuture {
  RecordedFuture(Index future, Index draws)
      : queries(future),
        model(testing::write_random_model(directory / "model",
                                          {.layers = kModelLayers, .vocabulary = static_cast<int>(kVocabulary)})),
        cache(model.make_cache(kFisherPrompt + future)) {
    TokenizedPrompt prompt{"p", "task", "here", {}, {}, 0, {}};
    const auto tokens = testing::random_tokens(static_cast<int>(kFisherPrompt + future), kVocabulary);
    prompt.tokens.assign(tokens.begin(), tokens.begin() + kFisherPrompt);
    prompt.future.assign(tokens.begin() + kFisherPrompt, tokens.end());
    model.forward(prompt.tokens, cache);
    model.forward(prompt.future, cache, &states);
    RecordOptions options;
    options.tier = trace::Tier::kFull;
    options.dtype = trace::ElementType::kFloat32;
    options.gradients = draws;
    {
      trace::TraceWriter writer({.path = directory / "t.h5"}, model_info(model));
      for (Index layer = 0; layer < kModelLayers; ++layer) {
        writer.write_output_weight(layer, model.output_weight(layer));
        layers.push_back(layer);
      }
      record_prompt(model, prompt, options, writer, [](double) {});
      writer.finish();
    }
    trace.emplace(directory / "t.h5");
    twin.emplace(model, cache, states);
  }

  /// Every layer's measures where all heads hold these prompt positions.
  std::vector<analysis::FisherLoss> losses(const std::set<Index>& kept) const {
    const std::vector<std::int32_t> positions(kept.begin(), kept.end());
    std::vector<analysis::FisherLoss> all;
    for (const Index layer : layers) {
      const trace::LayerData data = trace->layer(0, layer, trace->prompts()[0].recorded());
      const analysis::OutputReference reference(data.shape, trace::future_view(data), trace->output_weight(layer));
      const analysis::KeptSets sets(static_cast<std::size_t>(data.shape.query_heads), positions);
      all.push_back(reference.losses(sets).fisher.value());
    }
    return all;
  }

  /// KL(p || p') per query, to second order in outputs moved by -moves: every label's score, without sampling.
  double enumerated(const Moves& moves) const {
    std::vector<double> sums(static_cast<std::size_t>(queries * kVocabulary), 0.0);
    const LogitGradient labels = [](Index draw, Index query, std::span<const double> p, std::span<float> gradient) {
      const bool own = draw / kVocabulary == query;
      const auto label = static_cast<std::size_t>(draw % kVocabulary);
      for (std::size_t u = 0; u < p.size(); ++u) {
        gradient[u] = own ? static_cast<float>(std::sqrt(p[label]) * ((u == label ? 1.0 : 0.0) - p[u])) : 0.0F;
      }
    };
    attention_output_gradients(model, cache, states, queries * kVocabulary, layers, labels,
                               [&](Index layer, const RowMatrix& gradients) {
                                 for (std::size_t draw = 0; draw < sums.size(); ++draw) {
                                   sums[draw] += gradients.middleRows(static_cast<Index>(draw) * queries, queries)
                                                     .cast<double>()
                                                     .cwiseProduct(moves[static_cast<std::size_t>(layer)])
                                                     .sum();
                                 }
                               });
    double form = 0.0;
    for (const double sum : sums) form += sum * sum / 2.0 / static_cast<double>(queries);
    return form;
  }

  /// KL(p || p') per query where outputs are moved by step * moves.
  double divergence(const Moves& moves, double step) const {
    Moves scaled = moves;
    for (Eigen::MatrixXd& move : scaled) move *= step;
    const Eigen::MatrixXd before = twin->log_probabilities(twin->nothing());
    const Eigen::MatrixXd after = twin->log_probabilities(scaled);
    return (before.array().exp() * (before - after).array()).sum() / static_cast<double>(queries);
  }

  void expect_second_order(const Moves& moves, const char* what) const {
    const double form = enumerated(moves);
    EXPECT_GT(form, 0.0) << what;
    for (const double step : {1e-2, 3e-3}) {
      const double found = (divergence(moves, step) + divergence(moves, -step)) / 2.0 / (step * step);
      EXPECT_NEAR(found, form, 1e-3 * form) << what << " step " << step;
    }
  }

  Index queries;
  testing::TemporaryDirectory directory;
  Transformer model;
  KvCache cache;
  StreamStates states;
  std::vector<Index> layers;
  std::optional<trace::TraceReader> trace;
  std::optional<DoubleTwin> twin;
};

/// The first 4 positions, the last 8 and some between.
std::set<Index> kept_positions() {
  std::set<Index> kept = {0, 1, 2, 3, 9, 17, 21, 30};
  for (Index j = kFisherPrompt - 8; j < kFisherPrompt; ++j) kept.insert(j);
  return kept;
}

void expect_within_errors(const analysis::FisherKl& sampled, double expected, const char* what) {
  EXPECT_NEAR(sampled.kl, expected, 3.0 * sampled.error.value()) << what;
  EXPECT_LE(sampled.error.value(), 0.1 * expected) << what;
}

TEST(FisherTest, IsTheKlDivergenceOfAnEvictionToSecondOrder) {
  const RecordedFuture future(4, 4096);
  const Moves changes = future.twin->changes(kept_positions());
  future.expect_second_order(changes, "all layers");
  const std::vector<analysis::FisherLoss> losses = future.losses(kept_positions());
  std::vector<double> sums(4096, 0.0);
  for (const analysis::FisherLoss& layer : losses) {
    for (std::size_t draw = 0; draw < sums.size(); ++draw) sums[draw] += layer.sums[draw];
  }
  expect_within_errors(analysis::fisher_kl(sums, 4), future.enumerated(changes), "all layers");
}

TEST(FisherTest, OfASingleLayerIsTheDivergenceOfItsChangeAlone) {
  const RecordedFuture future(4, 4096);
  const std::vector<analysis::FisherLoss> losses = future.losses(kept_positions());
  for (std::size_t layer = 0; layer < losses.size(); ++layer) {
    Moves alone = future.twin->nothing();
    alone[layer] = future.twin->changes(kept_positions())[layer];
    future.expect_second_order(alone, "one layer");
    expect_within_errors(analysis::fisher_kl(losses[layer].sums, 4), future.enumerated(alone), "one layer");
  }
}

TEST(FisherTest, OfASingleQueryAgreesWithTheLossThatTakesQueriesApart) {
  const RecordedFuture future(1, 4096);
  const std::vector<analysis::FisherLoss> losses = future.losses(kept_positions());
  for (std::size_t layer = 0; layer < losses.size(); ++layer) {
    Moves alone = future.twin->nothing();
    alone[layer] = future.twin->changes(kept_positions())[layer];
    future.expect_second_order(alone, "one query");
    const analysis::FisherKl sampled = analysis::fisher_kl(losses[layer].sums, 1);
    expect_within_errors(sampled, future.enumerated(alone), "one query");
    EXPECT_NEAR(losses[layer].loss, sampled.kl, 1e-12 * sampled.kl);
  }
}

TEST(FisherTest, OfTheFullCacheIsNothing) {
  const RecordedFuture future(4, 8);
  std::set<Index> all;
  for (Index j = 0; j < kFisherPrompt; ++j) all.insert(j);
  for (const analysis::FisherLoss& layer : future.losses(all)) {
    EXPECT_EQ(layer.loss, 0.0);
    EXPECT_EQ(layer.sums, std::vector<double>(8, 0.0));
  }
}

}  // namespace
}  // namespace evictlab::runtime
