#include "runtime/recorder.hpp"

#include <cmath>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

#include "core/parallel.hpp"
#include "runtime/gradients.hpp"
#include "testing/temporary_directory.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/verify.hpp"

namespace evictlab::runtime {
namespace {

using trace::Field;
using trace::Index;
using trace::RowMatrix;

const std::filesystem::path kModel = std::filesystem::path(EVICTLAB_SOURCE_DIR) / "models" / "demo";

const Transformer& demo_model() {
  static const Transformer model(kModel);
  return model;
}

const Index kLayers = demo_model().config().layers;
const Index kHeads = demo_model().config().query_heads;

/// Pseudo-random but fixed token ids, tags left out.
TokenizedPrompt some_prompt(Index n, Index future) {
  TokenizedPrompt prompt{"p", "task", "here", {}, {}, 0, {{"context", 0, n / 2}}};
  std::uint32_t state = 12345;
  const auto next = [&] {
    state = state * 1664525U + 1013904223U;
    return static_cast<std::int32_t>(16 + (state >> 8U) % 490U);
  };
  for (Index i = 0; i < n; ++i) prompt.tokens.push_back(next());
  for (Index i = 0; i < future; ++i) prompt.future.push_back(next());
  return prompt;
}

struct Recorded {
  testing::TemporaryDirectory directory;
  std::unique_ptr<trace::TraceReader> trace;

  Recorded(const std::vector<TokenizedPrompt>& prompts, const RecordOptions& options) {
    trace::TraceWriter writer({.path = directory / "t.h5"}, model_info(demo_model()));
    if (options.tier == trace::Tier::kFull) {
      for (Index layer = 0; layer < demo_model().config().layers; ++layer) {
        writer.write_output_weight(layer, demo_model().output_weight(layer));
      }
    }
    for (const TokenizedPrompt& prompt : prompts) record_prompt(demo_model(), prompt, options, writer, [](double) {});
    writer.finish();
    trace = std::make_unique<trace::TraceReader>(directory / "t.h5");
  }
};

constexpr RecordOptions kFullFloat{
    .tier = trace::Tier::kFull, .window = 16, .dtype = trace::ElementType::kFloat32, .layers = {}, .sampling = {}};

/// Softmax row of the query at `position` over the positions up to its own, in double.
std::vector<double> attention_row(const trace::LayerData& layer, Index head, Index query_row, Index position) {
  const RowMatrix queries = layer.queries.view().copy_head(head);
  const RowMatrix keys = layer.keys.view().copy_head(layer.shape.kv_head_of(head));
  std::vector<double> row;
  for (Index j = 0; j <= position; ++j) {
    row.push_back(layer.shape.attention_scale * queries.row(query_row).cast<double>().dot(keys.row(j).cast<double>()));
  }
  const double largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (double& value : row) sum += value = std::exp(value - largest);
  for (double& value : row) value /= sum;
  return row;
}

/// Adds up every row of a forward pass.
class MassOfEveryRow : public ForwardObserver {
 public:
  explicit MassOfEveryRow(Index n)
      : mass(static_cast<std::size_t>(kLayers * kHeads), std::vector<double>(static_cast<std::size_t>(n), 0.0)) {}
  void on_attention(Index layer, Index head, Index, const trace::RowMatrixView& rows) override {
    for (Index r = 0; r < rows.rows(); ++r) {
      for (Index j = 0; j < rows.cols(); ++j) {
        mass[static_cast<std::size_t>(layer * kHeads + head)][static_cast<std::size_t>(j)] +=
            static_cast<double>(rows(r, j));
      }
    }
  }
  std::vector<std::vector<double>> mass;
};

TEST(Recorder, RecordedRowsAreTheSoftmaxOfRecordedQueriesAndKeys) {
  const Recorded recorded({some_prompt(100, 5)}, kFullFloat);
  for (Index l = 0; l < kLayers; ++l) {
    const trace::LayerData layer = recorded.trace->layer(0, l, trace::kFullFields);
    for (Index head = 0; head < kHeads; ++head) {
      const RowMatrix window = layer.window_attention.view().copy_head(head);
      for (Index row = 0; row < 16; ++row) {
        const std::vector<double> expected = attention_row(layer, head, row, 100 - 16 + row);
        for (Index j = 0; j < 100; ++j) {
          const double want = j < static_cast<Index>(expected.size()) ? expected[static_cast<std::size_t>(j)] : 0.0;
          ASSERT_NEAR(window(row, j), want, 1e-3 * want + 1e-6) << l << ' ' << head << ' ' << row << ' ' << j;
        }
      }
    }
  }
}

TEST(Recorder, FutureMassIsTheSumOfTheFutureQueriesRows) {
  const Recorded recorded({some_prompt(80, 6)}, kFullFloat);
  for (Index l = 0; l < kLayers; ++l) {
    const trace::LayerData layer = recorded.trace->layer(0, l, trace::kFullFields);
    for (Index head = 0; head < kHeads; ++head) {
      std::vector<double> expected(86, 0.0);
      for (Index t = 0; t < 6; ++t) {
        const std::vector<double> row = attention_row(layer, head, 16 + t, 80 + t);
        for (std::size_t j = 0; j < row.size(); ++j) expected[j] += row[j];
      }
      const auto mass = layer.future_mass.view().float_row(head, 0);
      for (std::size_t j = 0; j < 86; ++j) ASSERT_NEAR(mass[j], expected[j], 1e-4) << l << ' ' << head << ' ' << j;
    }
  }
}

TEST(Recorder, AttentionMassIsTheSumOfEveryPromptRow) {
  const TokenizedPrompt prompt = some_prompt(150, 2);
  const Recorded recorded({prompt}, {.tier = trace::Tier::kSummary, .window = 8, .layers = {}, .sampling = {}});
  MassOfEveryRow twin(150);
  KvCache cache = demo_model().make_cache(150);
  demo_model().forward(prompt.tokens, cache, &twin);
  for (Index l = 0; l < kLayers; ++l) {
    const trace::LayerData layer = recorded.trace->layer(0, l, Field::kAttentionMass);
    for (Index head = 0; head < kHeads; ++head) {
      const auto mass = layer.attention_mass.view().float_row(head, 0);
      const auto& expected = twin.mass[static_cast<std::size_t>(l * kHeads + head)];
      for (std::size_t j = 0; j < 150; ++j) ASSERT_NEAR(mass[j], expected[j], 1e-4) << l << ' ' << head << ' ' << j;
      EXPECT_NEAR(std::accumulate(mass.begin(), mass.end(), 0.0), 150.0, 1e-2);
    }
  }
}

TEST(Recorder, GradientsAreThoseOfTheFuturesPass) {
  const TokenizedPrompt prompt = some_prompt(60, 7);
  RecordOptions options = kFullFloat;
  options.gradients = 3;
  options.layers = {1, kLayers - 1};
  const Recorded recorded({prompt}, options);
  EXPECT_THAT(trace::verify_trace(recorded.directory / "t.h5"), ::testing::IsEmpty());
  EXPECT_EQ(recorded.trace->prompts()[0].gradient_draws, 3);

  KvCache cache = demo_model().make_cache(67);
  StreamStates stream;
  demo_model().forward(prompt.tokens, cache);
  demo_model().forward(prompt.future, cache, &stream);
  attention_output_gradients(
      demo_model(), cache, stream, 3, options.layers, random_sign_gradient("p"),
      [&](Index layer, const RowMatrix& expected) {
        const trace::Tensor found = recorded.trace->layer(0, layer, Field::kOutputGradients).output_gradients;
        ASSERT_EQ(found.heads(), 3);
        ASSERT_EQ(found.rows(), 7);
        EXPECT_TRUE(std::ranges::equal(found.bytes(), stored_gradients(expected, 3).bytes()));
        for (Index draw = 0; draw < 3; ++draw) {
          const RowMatrix difference = found.view().copy_head(draw) - expected.middleRows(draw * 7, 7);
          EXPECT_LE(difference.cwiseAbs().maxCoeff(), 0x1p-11F * expected.cwiseAbs().maxCoeff());
        }
      });
}

TEST(Recorder, WithoutGradientsAskedForNoneAreThere) {
  const Recorded recorded({some_prompt(30, 3)}, kFullFloat);
  EXPECT_EQ(recorded.trace->prompts()[0].recorded(), trace::kFullFields);
}

TEST(Recorder, OutputNormsAreThoseOfValuesTimesTheOutputWeight) {
  const Recorded recorded({some_prompt(60, 3)}, kFullFloat);
  const trace::LayerData layer = recorded.trace->layer(0, 3, trace::kFullFields);
  const RowMatrix weight = recorded.trace->output_weight(3);
  for (Index head = 0; head < kHeads; ++head) {
    const RowMatrix values = layer.values.view().copy_head(layer.shape.kv_head_of(head));
    const auto norms = layer.output_norms.view().float_row(head, 0);
    for (Index j = 0; j < 63; ++j) {
      const double expected =
          (values.row(j).cast<double>() * weight.middleRows(head * 32, 32).cast<double>()).lpNorm<1>();
      ASSERT_NEAR(norms[static_cast<std::size_t>(j)], expected, 1e-4 * expected);
    }
  }
}

TEST(Recorder, ResidualNormsAreOfTheStreamTheAttentionOutputAndTheirSum) {
  const Recorded recorded({some_prompt(60, 3)}, kFullFloat);
  const trace::LayerData layer = recorded.trace->layer(0, 3, trace::kFullFields);
  const RowMatrix weight = recorded.trace->output_weight(3);
  const auto norm = [&](Index stream, Index t) {
    return static_cast<double>(layer.residual_norms.view().float_row(stream, 0)[static_cast<std::size_t>(t)]);
  };
  for (Index t = 0; t < 3; ++t) {
    Eigen::RowVectorXd output = Eigen::RowVectorXd::Zero(weight.cols());
    for (Index head = 0; head < kHeads; ++head) {
      const std::vector<double> row = attention_row(layer, head, 16 + t, 60 + t);
      const RowMatrix values = layer.values.view().copy_head(layer.shape.kv_head_of(head));
      const Eigen::Map<const Eigen::RowVectorXd> attention(row.data(), static_cast<Index>(row.size()));
      const Eigen::RowVectorXd mixed = attention * values.topRows(attention.size()).cast<double>();
      output += mixed * weight.middleRows(head * 32, 32).cast<double>();
    }
    EXPECT_NEAR(norm(1, t), output.norm(), 1e-3 * output.norm()) << t;
    EXPECT_GT(norm(0, t), 0.0);
    EXPECT_LE(norm(2, t), (norm(0, t) + norm(1, t)) * 1.00001);
    EXPECT_GE(norm(2, t), std::abs(norm(0, t) - norm(1, t)) * 0.99999);
  }
}

/// Keeps one layer's queries before position encoding, [m, d] of every head.
class RawQueries : public ForwardObserver {
 public:
  explicit RawQueries(Index layer) : layer_(layer) {}
  void on_layer_states(Index layer, const LayerStates& states) override {
    if (layer != layer_) return;
    for (Index head = 0; head < states.raw_queries.heads(); ++head) heads.push_back(states.raw_queries.copy_head(head));
  }
  std::vector<RowMatrix> heads;

 private:
  Index layer_;
};

TEST(Recorder, QueryStatisticsLeaveOutTheFirstFourPositions) {
  const TokenizedPrompt prompt = some_prompt(60, 3);
  const Recorded recorded({prompt}, kFullFloat);
  const trace::LayerData layer = recorded.trace->layer(0, 2, trace::kFullFields);
  EXPECT_EQ(layer.query_count, 56);
  RawQueries raw(2);
  KvCache cache = demo_model().make_cache(60);
  demo_model().forward(prompt.tokens, cache, &raw);
  ASSERT_EQ(raw.heads.size(), static_cast<std::size_t>(kHeads));
  for (Index head = 0; head < kHeads; ++head) {
    const RowMatrix& queries = raw.heads[static_cast<std::size_t>(head)];
    const RowMatrix covariance = layer.query_covariance.view().copy_head(head);
    const auto mean = layer.query_mean.view().float_row(head, 0);
    const auto mean_of = [&](Index column) {
      double sum = 0;
      for (Index row = 4; row < 60; ++row) sum += static_cast<double>(queries(row, column));
      return sum / 56;
    };
    for (Index i = 0; i < 32; ++i) {
      ASSERT_NEAR(mean[static_cast<std::size_t>(i)], mean_of(i), 1e-5);
      for (Index j = 0; j < 32; j += 7) {
        double sum = 0;
        for (Index row = 4; row < 60; ++row) {
          sum +=
              (static_cast<double>(queries(row, i)) - mean_of(i)) * (static_cast<double>(queries(row, j)) - mean_of(j));
        }
        ASSERT_NEAR(covariance(i, j), sum / 56, 1e-4) << head << ' ' << i << ' ' << j;
      }
    }
  }
}

TEST(Recorder, WhatIsRecordedIsSoundInBothTiersAndTypes) {
  for (const trace::Tier tier : {trace::Tier::kSummary, trace::Tier::kFull}) {
    for (const auto dtype : {trace::ElementType::kFloat16, trace::ElementType::kFloat32}) {
      const Recorded recorded({some_prompt(90, 4)},
                              {.tier = tier, .window = 64, .dtype = dtype, .layers = {}, .sampling = {}});
      EXPECT_THAT(trace::verify_trace(recorded.directory / "t.h5"), ::testing::IsEmpty());
    }
  }
}

TEST(Recorder, AGeneratedFutureIsRecordedAsIfItHadBeenGiven) {
  TokenizedPrompt generated = some_prompt(70, 0);
  generated.generate = 7;
  RecordOptions options = kFullFloat;
  options.gradients = 2;
  const Recorded once({generated}, options);
  const std::vector<std::int32_t> tokens = once.trace->tokens(0);
  ASSERT_GT(tokens.size(), 70U);
  EXPECT_EQ(once.trace->prompts()[0].future_kind, "generated");

  TokenizedPrompt given = some_prompt(70, 0);
  given.future.assign(tokens.begin() + 70, tokens.end());
  const Recorded again({given}, options);
  EXPECT_EQ(again.trace->prompts()[0].future_kind, "teacher-forced");
  for (const Field field : trace::kAllFields) {
    if (!trace::kFullFields.contains(field)) continue;
    const trace::LayerData a = once.trace->layer(0, 4, field);
    const trace::LayerData b = again.trace->layer(0, 4, field);
    EXPECT_TRUE(std::ranges::equal(a[field].bytes(), b[field].bytes())) << trace::field_name(field);
  }
}

/// Keeps the rows of the queries from `first` on, of all layers and heads.
class RowsFrom : public ForwardObserver {
 public:
  explicit RowsFrom(Index first) : rows(static_cast<std::size_t>(kLayers * kHeads)), first_(first) {}
  void on_attention(Index layer, Index head, Index position, const trace::RowMatrixView& seen) override {
    auto& own = rows[static_cast<std::size_t>(layer * kHeads + head)];
    for (Index r = std::max<Index>(0, first_ - position); r < seen.rows(); ++r) own.emplace_back(seen.row(r));
  }
  std::vector<std::vector<Eigen::RowVectorXf>> rows;

 private:
  Index first_;
};

// 40 positions in chunks of 16, 16 and 8. Read in one pass instead, the prompt and one chunk behind it give the same
// rows.
TEST(Recorder, RepeatAttentionIsTheLargestShareThatAQueryOfTheRepeatedChunkPays) {
  constexpr Index n = 40;
  const TokenizedPrompt prompt = some_prompt(n, 5);
  const Recorded plain({prompt}, {.tier = trace::Tier::kSummary, .window = 8, .layers = {}, .sampling = {}});
  const Recorded recorded(
      {prompt}, {.tier = trace::Tier::kSummary, .window = 8, .layers = {1, 3}, .repeat_chunk = 16, .sampling = {}});
  EXPECT_EQ(recorded.trace->prompts()[0].extra, trace::Fields(Field::kRepeatAttention));
  const Index group = kHeads / demo_model().config().kv_heads;
  for (Index begin = 0; begin < n; begin += 16) {
    const Index count = std::min<Index>(16, n - begin);
    std::vector<std::int32_t> tokens = prompt.tokens;
    tokens.insert(tokens.end(), prompt.tokens.begin() + begin, prompt.tokens.begin() + begin + count);
    KvCache cache = demo_model().make_cache(n + count);
    RowsFrom repeated(n);
    demo_model().forward(tokens, cache, &repeated);
    for (const Index layer : {Index{1}, Index{3}}) {
      const trace::LayerData data = recorded.trace->layer(0, layer, Field::kRepeatAttention);
      for (Index head = 0; head < kHeads / group; ++head) {
        Eigen::RowVectorXf expected = Eigen::RowVectorXf::Zero(count);
        for (Index h = head * group; h < (head + 1) * group; ++h) {
          const auto& rows = repeated.rows[static_cast<std::size_t>(layer * kHeads + h)];
          ASSERT_EQ(static_cast<Index>(rows.size()), count);
          for (Index t = 0; t < count; ++t) {
            const Eigen::RowVectorXf& row = rows[static_cast<std::size_t>(t)];
            const auto own = row.segment(begin, count);
            expected = expected.cwiseMax(own / (own.sum() + row.segment(n, t + 1).sum()));
          }
        }
        for (Index j = 0; j < count; ++j) {
          EXPECT_NEAR(data.repeat_attention.view().float_row(head, 0)[static_cast<std::size_t>(begin + j)], expected[j],
                      1e-5);
        }
      }
    }
  }
  for (const Index layer : {Index{1}, Index{3}}) {
    for (const Field field : trace::kAllFields) {
      if (!trace::kSummaryFields.contains(field)) continue;
      const trace::LayerData a = plain.trace->layer(0, layer, field);
      const trace::LayerData b = recorded.trace->layer(0, layer, field);
      EXPECT_TRUE(std::ranges::equal(a[field].bytes(), b[field].bytes())) << trace::field_name(field);
    }
  }
}

TEST(Recorder, SampledFuturesDependOnTheSeedAndNotOnOtherPrompts) {
  TokenizedPrompt first = some_prompt(70, 0);
  first.generate = 12;
  TokenizedPrompt second = first;
  second.id = "other";
  RecordOptions options{
      .tier = trace::Tier::kSummary, .window = 8, .layers = {0}, .sampling = {.temperature = 2.0, .seed = 5}};
  const Recorded both({second, first}, options);
  const Recorded alone({first}, options);
  EXPECT_EQ(both.trace->tokens(1), alone.trace->tokens(0));
  EXPECT_NE(both.trace->tokens(0), both.trace->tokens(1));
  options.sampling.seed = 6;
  EXPECT_NE(Recorded({first}, options).trace->tokens(0), alone.trace->tokens(0));
}

TEST(Recorder, TheTraceIsTheSameForAnyNumberOfThreads) {
  const auto bytes = [](std::size_t threads) {
    core::set_threads(threads);
    const Recorded recorded({some_prompt(130, 4)}, kFullFloat);
    std::ifstream file(recorded.directory / "t.h5", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string one = bytes(1);
  const std::string two = bytes(2);
  core::set_threads(0);
  EXPECT_EQ(one, two);
}

TEST(Recorder, OnlyTheLayersAskedForAreRecorded) {
  const Recorded recorded({some_prompt(70, 2)},
                          {.tier = trace::Tier::kSummary, .window = 8, .layers = {1, 4}, .sampling = {}});
  EXPECT_EQ(recorded.trace->prompts()[0].layers, (std::vector<Index>{1, 4}));
  EXPECT_NO_THROW(recorded.trace->layer(0, 4, Field::kFutureMass));
  EXPECT_THROW(recorded.trace->layer(0, 2, Field::kFutureMass), trace::TraceError);
}

TEST(Recorder, OfAPromptShorterThanTheWindowAllQueriesAreRecorded) {
  TokenizedPrompt brief = some_prompt(9, 2);
  brief.id = "short";
  for (const trace::Tier tier : {trace::Tier::kSummary, trace::Tier::kFull}) {
    const Recorded recorded({brief, some_prompt(90, 2)}, {.tier = tier, .window = 64, .layers = {}, .sampling = {}});
    EXPECT_THAT(trace::verify_trace(recorded.directory / "t.h5"), ::testing::IsEmpty());
    EXPECT_EQ(recorded.trace->prompts()[0].window, 9);
    EXPECT_EQ(recorded.trace->prompts()[1].window, 64);
    // All rows are in the window: their sums are the attention mass.
    const trace::LayerData layer = recorded.trace->layer(0, 3, Field::kWindowAttention | Field::kAttentionMass);
    const RowMatrix rows = layer.window_attention.view().copy_head(0);
    const RowMatrix mass = layer.attention_mass.view().copy_head(0);
    for (Index j = 0; j < 9; ++j) EXPECT_NEAR(rows.col(j).sum(), mass(0, j), 4e-3);
  }
}

TEST(Recorder, StoppingInsideAPromptLeavesTheFinishedOnes) {
  testing::TemporaryDirectory directory;
  TokenizedPrompt second = some_prompt(100, 2);
  second.id = "second";
  {
    trace::TraceWriter writer({.path = directory / "t.h5"}, model_info(demo_model()));
    const RecordOptions options{.tier = trace::Tier::kSummary, .window = 8, .layers = {}, .sampling = {}};
    record_prompt(demo_model(), some_prompt(100, 2), options, writer, [](double) {});
    const auto stop_half_way = [](double fraction) {
      if (fraction > 0.4) throw core::Interrupted();
    };
    EXPECT_THROW(record_prompt(demo_model(), second, options, writer, stop_half_way), core::Interrupted);
    writer.finish();
  }
  const trace::TraceReader trace(directory / "t.h5");
  ASSERT_EQ(trace.prompts().size(), 1U);
  EXPECT_EQ(trace.prompts()[0].id, "p");
}

TEST(Recorder, TheEstimateIsWithinATenthOfTheTrace) {
  const std::vector<TokenizedPrompt> prompts = {some_prompt(400, 6)};
  const Recorded recorded(prompts, kFullFloat);
  const auto size = static_cast<double>(std::filesystem::file_size(recorded.directory / "t.h5"));
  const double estimate = estimate_recording(prompts, demo_model().config(), kFullFloat).trace_bytes;
  EXPECT_NEAR(estimate, size, 0.1 * size);
}

}  // namespace
}  // namespace evictlab::runtime
