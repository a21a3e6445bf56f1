#include "trace/synthetic.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "core/parallel.hpp"

namespace evictlab::trace {
namespace {

using ::testing::HasSubstr;

SyntheticOptions only(HeadKind kind) {
  SyntheticOptions options;
  options.prompts = 1;
  options.layers = 1;
  options.query_heads = 1;
  options.kv_heads = 1;
  options.length = 80;
  options.future = 10;
  options.window = 20;
  options.heavy_hitters = 5;
  options.kinds = {kind};
  return options;
}

// One head's softmax row of query t, recomputed the plain way from the stored queries and keys.
std::vector<double> naive_row(const LayerData& layer, Index head, Index t) {
  const LayerShape& shape = layer.shape;
  const RowMatrix queries = layer.queries.view().copy_head(head);
  const RowMatrix keys = layer.keys.view().copy_head(shape.kv_head_of(head));
  const Index stored = t - (shape.prompt_length - shape.window);
  std::vector<double> row(static_cast<std::size_t>(keys.rows()), 0.0);
  double sum = 0.0;
  for (Index j = 0; j <= t; ++j) {
    if (shape.sliding_window > 0 && t - j >= shape.sliding_window) continue;
    double logit = 0.0;
    for (Index c = 0; c < keys.cols(); ++c) {
      logit += static_cast<double>(queries(stored, c)) * static_cast<double>(keys(j, c));
    }
    // Logits of these tests are far below 700: no need to subtract the largest.
    sum += row[static_cast<std::size_t>(j)] = std::exp(logit * shape.attention_scale);
  }
  for (double& p : row) p /= sum;
  return row;
}

float window_value(const LayerData& layer, Index head, Index t, Index j) {
  return layer.window_attention.view().copy_head(head)(t - (layer.shape.prompt_length - layer.shape.window), j);
}

Eigen::RowVectorXd mass_row(const Tensor& tensor, Index head) {
  return tensor.view().copy_head(head).row(0).cast<double>();
}

// Every recorded field against queries, keys, values and W_O, for all heads of all layers.
void expect_consistent(const SyntheticOptions& options) {
  const MemoryTrace trace = synthesize(options);
  const Index n = options.length;
  for (Index l = 0; l < options.layers; ++l) {
    const LayerData layer = trace.layer(0, l, trace.prompts()[0].recorded());
    const RowMatrix weight = trace.output_weight(l);
    for (Index h = 0; h < options.query_heads; ++h) {
      SCOPED_TRACE(::testing::Message() << "layer " << l << " head " << h << " "
                                        << head_kind_name(synthetic_head_kind(options, l, h)));
      const RowMatrix window = layer.window_attention.view().copy_head(h);
      std::vector<double> future(static_cast<std::size_t>(n + options.future), 0.0);
      for (Index t = n - options.window; t < n + options.future; ++t) {
        const std::vector<double> row = naive_row(layer, h, t);
        for (Index j = 0; t < n && j < n; ++j) {
          const double p = row[static_cast<std::size_t>(j)];
          // Half precision: a relative 2^-11, or half a subnormal step 2^-25, times 2^-15.
          ASSERT_NEAR(window(t - (n - options.window), j), p, p * 0x1p-11 + 0x1p-39) << t << " " << j;
        }
        for (std::size_t j = 0; t >= n && j < future.size(); ++j) future[j] += row[j];
      }
      const Eigen::RowVectorXd future_mass = mass_row(layer.future_mass, h);
      for (Index j = 0; j < n + options.future; ++j) {
        const double expected = future[static_cast<std::size_t>(j)];
        ASSERT_NEAR(future_mass[j], expected, 1e-6 * expected + 1e-30) << j;
      }
      EXPECT_NEAR(future_mass.sum(), static_cast<double>(options.future), 1e-4);
      EXPECT_NEAR(mass_row(layer.attention_mass, h).sum(), static_cast<double>(n), 1e-4);

      const RowMatrix values = layer.values.view().copy_head(layer.shape.kv_head_of(h));
      const Eigen::MatrixXd outputs =
          values.cast<double>() * weight.middleRows(h * options.head_dim, options.head_dim).cast<double>();
      const Eigen::RowVectorXd norms = mass_row(layer.output_norms, h);
      for (Index j = 0; j < norms.size(); ++j) {
        ASSERT_NEAR(norms[j], outputs.row(j).lpNorm<1>(), 1e-6 * norms[j] + 1e-12) << j;
      }
    }
  }
}

TEST(Synthetic, EveryFieldFollowsFromTheStoredQueriesKeysAndValues) {
  SyntheticOptions options;
  options.prompts = 1;
  options.layers = 3;
  options.query_heads = 4;
  options.kv_heads = 2;
  options.length = 60;
  options.future = 9;
  options.window = 16;
  options.heavy_hitters = 4;
  for (const ElementType type : {ElementType::kFloat32, ElementType::kFloat16}) {
    options.element_type = type;
    for (const Index dim : {8, 24}) {
      options.head_dim = dim;
      expect_consistent(options);
    }
  }
}

TEST(Synthetic, LayersWithASlidingWindowSeeNothingBeforeIt) {
  SyntheticOptions options;
  options.prompts = 1;
  options.layers = 2;
  options.length = 50;
  options.future = 6;
  options.window = 10;
  options.heavy_hitters = 4;
  options.sliding_window = 12;
  expect_consistent(options);
  const MemoryTrace trace = synthesize(options);
  EXPECT_THAT(trace.model().sliding_windows, ::testing::ElementsAre(0, 12));
  // The first future query is 50: it sees 39..50.
  const Eigen::RowVectorXd mass = mass_row(trace.layer(0, 1, Field::kFutureMass).future_mass, 0);
  EXPECT_EQ(mass.head(39).sum(), 0.0);
  EXPECT_GT(mass[39], 0.0);
}

TEST(Synthetic, UniformHeadsPayEveryPositionTheSame) {
  const SyntheticOptions options = only(HeadKind::kUniform);
  const LayerData layer = synthesize(options).layer(0, 0, kFullFields.without(Field::kResidualNorms));
  for (Index t = 60; t < 80; ++t) EXPECT_NEAR(window_value(layer, 0, t, t / 2), 1.0 / static_cast<double>(t + 1), 1e-5);
  const Eigen::RowVectorXd mass = mass_row(layer.attention_mass, 0);
  for (const Index j : {0, 1, 40, 79}) EXPECT_NEAR(mass[j], uniform_mass(80, j), 1e-6 * mass[j]);
  EXPECT_NEAR(mass[79], 1.0 / 80.0, 1e-9);
  // Future: sum over t = 80..89 of 1/(t+1) for every prompt position.
  EXPECT_NEAR(mass_row(layer.future_mass, 0)[3], uniform_mass(90, 80), 1e-7);
}

TEST(Synthetic, SinkHeadsPayTheFirstPosition) {
  const SyntheticOptions options = only(HeadKind::kSink);
  const LayerData layer = synthesize(options).layer(0, 0, kFullFields.without(Field::kResidualNorms));
  for (Index t = 60; t < 80; ++t) {
    EXPECT_NEAR(window_value(layer, 0, t, 0), sink_attention(options.sink_logit, t), 3e-4);
    EXPECT_NEAR(window_value(layer, 0, t, 30), other_attention(options.sink_logit, 1, t), 2e-6);
  }
  double first = 1.0;  // query 0 sees position 0 only
  for (Index t = 1; t < 80; ++t) first += sink_attention(options.sink_logit, t);
  EXPECT_NEAR(mass_row(layer.attention_mass, 0)[0], first, 1e-5 * first);
}

TEST(Synthetic, LocalHeadsDecayGeometrically) {
  SyntheticOptions options = only(HeadKind::kLocal);
  for (const double ratio : {0.5, 0.9, 0.99}) {
    options.local_ratio = ratio;
    const LayerData layer = synthesize(options).layer(0, 0, kFullFields.without(Field::kResidualNorms));
    const Eigen::RowVectorXd mass = mass_row(layer.attention_mass, 0);
    for (const Index j : {0, 10, 79}) {
      double expected = 0.0;
      for (Index t = j; t < 80; ++t) expected += local_attention(ratio, t, j);
      EXPECT_NEAR(mass[j], expected, 1e-5 * expected) << ratio << " " << j;
    }
    EXPECT_NEAR(window_value(layer, 0, 79, 78) / window_value(layer, 0, 79, 79), ratio, 1e-3);
  }
}

TEST(Synthetic, HeavyHitterHeadsPayTheirPositionsInPromptAndFuture) {
  const SyntheticOptions options = only(HeadKind::kHeavyHitter);
  const LayerData layer = synthesize(options).layer(0, 0, kFullFields.without(Field::kResidualNorms));
  const std::vector<Index> heavy = synthetic_heavy_hitters(options, 0, 0, 0, 0);
  ASSERT_EQ(heavy.size(), 5U);
  double expected = 0.0;  // all of them lie in the prompt, so every future query sees all five
  for (Index t = 80; t < 90; ++t) expected += preferred_attention(options.heavy_logit, 5, t);
  const Eigen::RowVectorXd future = mass_row(layer.future_mass, 0);
  for (const Index j : heavy) EXPECT_NEAR(future[j], expected, 1e-5 * expected);
  // In the prompt a query sees only those before it: attention of the first, summed over all queries.
  double mass = 0.0;
  for (Index t = heavy[0]; t < 80; ++t) {
    const auto seen = std::upper_bound(heavy.begin(), heavy.end(), t) - heavy.begin();
    mass += preferred_attention(options.heavy_logit, seen, t);
  }
  EXPECT_NEAR(mass_row(layer.attention_mass, 0)[heavy[0]], mass, 1e-5 * mass);
}

TEST(Synthetic, RetrievalHeadsFindTheNeedleFromTheQuestionOn) {
  const SyntheticOptions options = only(HeadKind::kRetrieval);
  const MemoryTrace trace = synthesize(options);
  const LayerData layer = trace.layer(0, 0, trace.prompts()[0].recorded());
  const std::vector<Span>& spans = trace.prompts()[0].spans;
  ASSERT_EQ(spans.size(), 3U);
  const Span& needle = spans[1];
  const Span& question = spans[2];
  EXPECT_EQ(needle.name, "needle");
  const Index m = needle.end - needle.begin;
  EXPECT_NEAR(window_value(layer, 0, question.begin - 1, needle.begin), uniform_attention(question.begin - 1), 1e-5);
  EXPECT_NEAR(window_value(layer, 0, question.begin, needle.begin),
              preferred_attention(options.needle_logit, m, question.begin), 3e-4);
  double expected = 0.0;
  for (Index t = 80; t < 90; ++t) expected += preferred_attention(options.needle_logit, m, t);
  EXPECT_NEAR(mass_row(layer.future_mass, 0)[needle.begin], expected, 1e-5 * expected);
}

TEST(Synthetic, DriftHeadsMoveOnInTheFuture) {
  const SyntheticOptions options = only(HeadKind::kDrift);
  const LayerData layer = synthesize(options).layer(0, 0, kFullFields.without(Field::kResidualNorms));
  ASSERT_EQ(drift_sets(options), 4);
  EXPECT_EQ(drift_set_at(options, 79), 1);
  EXPECT_EQ(drift_set_at(options, 80), 1);
  EXPECT_EQ(drift_set_at(options, 89), 4);
  const std::vector<Index> last = synthetic_heavy_hitters(options, 0, 0, 0, 4);
  const std::vector<Index> first = synthetic_heavy_hitters(options, 0, 0, 0, 1);
  EXPECT_NE(first, last);
  const auto only_in = [](const std::vector<Index>& a, const std::vector<Index>& b) {
    return *std::find_if(a.begin(), a.end(), [&](Index j) { return !std::binary_search(b.begin(), b.end(), j); });
  };
  const std::vector<double> end = naive_row(layer, 0, 89);
  EXPECT_NEAR(end[static_cast<std::size_t>(last[0])], preferred_attention(options.heavy_logit, 5, 89), 1e-6);
  EXPECT_NEAR(end[static_cast<std::size_t>(only_in(first, last))], other_attention(options.heavy_logit, 5, 89), 1e-6);
  // The window still looks at the first set.
  const double before = window_value(layer, 0, 79, first[0]);
  EXPECT_NEAR(
      before,
      preferred_attention(options.heavy_logit, std::upper_bound(first.begin(), first.end(), 79) - first.begin(), 79),
      3e-4);
}

TEST(Synthetic, QueryStatisticsAreThoseOfThePromptFromPositionFourOn) {
  // A window as long as the prompt stores every query, so that they can be averaged again.
  SyntheticOptions options = only(HeadKind::kRetrieval);
  options.window = options.length;
  const LayerData layer = synthesize(options).layer(0, 0, kFullFields.without(Field::kResidualNorms));
  const Eigen::MatrixXd queries = layer.queries.view().copy_head(0).middleRows(4, 76).cast<double>();
  EXPECT_EQ(layer.query_count, 76);
  const Eigen::RowVectorXd mean = queries.colwise().mean();
  const Eigen::MatrixXd centred = queries.rowwise() - mean;
  const Eigen::MatrixXd covariance = centred.transpose() * centred / 76.0;
  EXPECT_TRUE(mass_row(layer.query_mean, 0).isApprox(mean, 1e-5));
  EXPECT_TRUE(layer.query_covariance.view().copy_head(0).cast<double>().isApprox(covariance, 1e-5));
  EXPECT_GT(covariance.trace(), 0.5);  // not trivially zero: queries carry noise
}

TEST(Synthetic, TheSameOptionsGiveTheSameTraceOnAnyNumberOfThreads) {
  SyntheticOptions options;
  options.prompts = 2;
  options.length = 64;
  options.future = 8;
  options.window = 16;
  core::set_threads(1);
  const MemoryTrace a = synthesize(options);
  core::set_threads(4);
  const MemoryTrace b = synthesize(options);
  core::set_threads(0);
  options.seed = 2;
  const MemoryTrace c = synthesize(options);
  EXPECT_EQ(a.tokens(1), b.tokens(1));
  EXPECT_NE(a.tokens(1), c.tokens(1));
  for (Index l = 0; l < options.layers; ++l) {
    const LayerData x = a.layer(1, l, a.prompts()[0].recorded());
    const LayerData y = b.layer(1, l, b.prompts()[0].recorded());
    const LayerData z = c.layer(1, l, c.prompts()[0].recorded());
    for (const Field field : kAllFields) {
      EXPECT_TRUE(std::ranges::equal(x[field].bytes(), y[field].bytes())) << field_name(field);
    }
    EXPECT_FALSE(std::ranges::equal(x.values.bytes(), z.values.bytes()));
  }
}

TEST(Synthetic, ALayerAloneIsTheLayerOfTheWholeTrace) {
  SyntheticOptions options;
  options.prompts = 2;
  options.length = 300;  // more than one block of values
  options.sliding_window = 70;
  const MemoryTrace trace = synthesize(options);
  const LayerData whole = trace.layer(1, 3, trace.prompts()[0].recorded());
  const LayerData alone = synthetic_layer(options, 1, 3);
  for (const Field field : kAllFields) {
    EXPECT_TRUE(std::ranges::equal(std::as_const(alone)[field].bytes(), whole[field].bytes())) << field_name(field);
  }
  EXPECT_EQ(alone.query_count, whole.query_count);
  EXPECT_EQ(alone.shape.sliding_window, 70);
}

TEST(Synthetic, MassesAreThoseOfTheStoredRowsWithAndWithoutSlidingWindows) {
  // A window as long as the prompt stores all rows: half precision, as in expect_consistent().
  for (const ElementType type : {ElementType::kFloat32, ElementType::kFloat16}) {
    SyntheticOptions options;
    options.prompts = 1;
    options.length = options.window = 150;
    options.sliding_window = 40;
    options.element_type = type;
    const MemoryTrace trace = synthesize(options);
    for (Index l = 0; l < options.layers; ++l) {
      const LayerData layer = trace.layer(0, l, kSummaryFields);
      for (Index h = 0; h < options.query_heads; ++h) {
        const Eigen::RowVectorXd mass = mass_row(layer.attention_mass, h);
        const Eigen::RowVectorXd sum = layer.window_attention.view().copy_head(h).cast<double>().colwise().sum();
        for (Index j = 0; j < options.length; ++j)
          ASSERT_NEAR(mass[j], sum[j], 0x1p-11 * sum[j] + 1e-7) << l << " " << h;
      }
    }
  }
}

TEST(Synthetic, TheHiddenSizeIsOfTheOutputWeightAlone) {
  SyntheticOptions options = only(HeadKind::kRetrieval);
  const std::string as_always = synthetic_model(options).fingerprint;
  const LayerData wide = synthesize(options).layer(0, 0, kFullFields.without(Field::kResidualNorms));
  options.hidden_size = 16;  // as without it: H * d
  EXPECT_EQ(synthetic_model(options).fingerprint, as_always);
  options.hidden_size = 21;  // a tile of 16 outputs, and 5
  EXPECT_NE(synthetic_model(options).fingerprint, as_always);
  EXPECT_EQ(synthetic_model(options).hidden_size, 21);
  EXPECT_EQ(synthetic_output_weight(options, 0).cols(), 21);
  expect_consistent(options);
  const LayerData narrow = synthesize(options).layer(0, 0, kFullFields.without(Field::kResidualNorms));
  for (const Field field : kAllFields) {
    EXPECT_EQ(std::ranges::equal(narrow[field].bytes(), wide[field].bytes()), field != Field::kOutputNorms);
  }
}

TEST(Synthetic, PromptsDifferAndNeedlesSpreadOverTheDepths) {
  SyntheticOptions options;
  options.prompts = 5;
  options.layers = 1;
  const MemoryTrace trace = synthesize(options);
  Index last = 0;
  for (const PromptInfo& prompt : trace.prompts()) {
    const Span& context = prompt.spans[0];
    const Span& needle = prompt.spans[1];
    EXPECT_GT(needle.begin, last);
    EXPECT_GE(needle.begin, 1);
    EXPECT_LE(needle.end, context.end);
    last = needle.begin;
  }
  EXPECT_EQ(trace.prompts()[4].id, "synth-004");
  EXPECT_GT(last, options.length / 2);
  EXPECT_NE(trace.tokens(0), trace.tokens(1));
}

TEST(Synthetic, TheSummaryTierHasItsFieldsAndTheSameAttention) {
  SyntheticOptions options = only(HeadKind::kRetrieval);
  const LayerData full = synthesize(options).layer(0, 0, kSummaryFields);
  options.tier = Tier::kSummary;
  const MemoryTrace trace = synthesize(options);
  const LayerData summary = trace.layer(0, 0, kSummaryFields);
  for (const Field field : {Field::kWindowAttention, Field::kAttentionMass, Field::kFutureMass, Field::kOutputNorms}) {
    EXPECT_FALSE(summary[field].empty());
    EXPECT_TRUE(std::ranges::equal(summary[field].bytes(), full[field].bytes())) << field_name(field);
  }
  EXPECT_THROW(trace.layer(0, 0, Field::kKeys), TraceError);
  EXPECT_THROW(trace.output_weight(0), TraceError);
}

TEST(Synthetic, TheMixtureHasEveryKind) {
  const SyntheticOptions options;
  std::vector<HeadKind> kinds;
  for (Index l = 0; l < options.layers; ++l) {
    for (Index h = 0; h < options.query_heads; ++h) kinds.push_back(synthetic_head_kind(options, l, h));
  }
  using enum HeadKind;
  EXPECT_THAT(kinds, ::testing::IsSupersetOf({kUniform, kSink, kLocal, kHeavyHitter, kRetrieval, kDrift}));
}

TEST(Synthetic, TheSmallestSizesWork) {
  SyntheticOptions options = only(HeadKind::kDrift);
  options.length = 16;
  options.future = 1;
  options.window = 1;
  options.head_dim = 8;
  options.heavy_hitters = 1;
  expect_consistent(options);
}

std::string message_of(const SyntheticOptions& options) {
  try {
    synthesize(options);
  } catch (const TraceError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(Synthetic, OptionsOutOfRangeAreNamed) {
  const auto with = [](auto change) {
    SyntheticOptions options = only(HeadKind::kUniform);
    change(options);
    return message_of(options);
  };
  EXPECT_THAT(with([](auto& o) { o.head_dim = 7; }), HasSubstr("head_dim must be from 8"));
  EXPECT_THAT(with([](auto& o) { o.window = 81; }), HasSubstr("window must be from 1 to 80, not 81"));
  EXPECT_THAT(with([](auto& o) { o.query_heads = 4, o.kv_heads = 3; }), HasSubstr("multiple of kv_heads (3)"));
  EXPECT_THAT(with([](auto& o) { o.length = 0; }), HasSubstr("length"));
  EXPECT_THAT(with([](auto& o) { o.local_ratio = 1.0; }), HasSubstr("local_ratio"));
  EXPECT_THAT(with([](auto& o) { o.sink_logit = std::nan(""); }), HasSubstr("sink_logit"));
  EXPECT_THAT(with([](auto& o) { o.layers = o.query_heads = 1024, o.length = o.window = 10000; }), HasSubstr("64 GiB"));
  EXPECT_THAT(with([](auto& o) { o.heavy_hitters = 41; }), HasSubstr("heavy_hitters must be from 1 to 40"));
}

}  // namespace
}  // namespace evictlab::trace
