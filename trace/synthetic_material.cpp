#include "trace/synthetic_material.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>

#include "core/random.hpp"

// Feature axes of keys and queries; every kv head has all features, its query heads pick theirs.
//
//   0            position         k = j * kPositionUnit      q of local heads
//   1            sink             k = 1 at position 0        q of sink heads
//   2            needle           k = 1 in the needle        q of retrieval heads from the question on
//   3 .. 3+D     heavy hitters    k = 1 in set 0 .. D        q of heavy-hitter and drift heads
//   .. d-2       noise of keys    no query looks at it
//   d-1          noise of queries no key has it
//
// The noise changes no logit; it gives keys that differ and queries that spread, which methods that
// read keys or query statistics need.

namespace evictlab::trace {
namespace {

constexpr Index kPositionAxis = 0;
constexpr Index kSinkAxis = 1;
constexpr Index kNeedleAxis = 2;
constexpr Index kHeavyAxis = 3;
constexpr double kPositionUnit = 1.0 / 256.0;
constexpr Index kVocabulary = 1000;

class Random : public core::SplitMix64 {
 public:
  using core::SplitMix64::SplitMix64;

  static constexpr Index kNormalDraws = 12;

  /// 0 .. end-1
  Index below(Index end) { return static_cast<Index>(uniform() * static_cast<double>(end)); }
  /// Nearly normal: a sum of uniforms needs no logarithm, whose last bit differs between libraries.
  double normal() {
    double sum = -6.0;
    for (Index i = 0; i < kNormalDraws; ++i) sum += uniform();
    return sum;
  }
};

// A stream of its own for everything that is drawn, so that no draw depends on another's length.
enum class Purpose : std::uint64_t { kTokens, kNeedle, kHeavy, kKeys, kValues, kQueries, kOutputWeight };
Random stream(const SyntheticOptions& options, Purpose purpose, Index prompt, Index layer, Index head, Index set) {
  std::uint64_t seed = options.seed;
  for (const Index part : {static_cast<Index>(purpose), prompt, layer, head, set}) {
    seed = Random(seed ^ static_cast<std::uint64_t>(part + 1)).next();
  }
  return Random(seed);
}

void round_to(ElementType type, RowMatrix& matrix) {
  if (type == ElementType::kFloat32) return;
  const std::span<float> elements(matrix.data(), static_cast<std::size_t>(matrix.size()));
  std::vector<core::Half> halves(elements.size());
  core::to_half(elements, halves);
  core::to_float(halves, elements);
}

Index question_length(const SyntheticOptions& options) {
  return std::min(options.window, std::max<Index>(1, options.length / 16));
}

// The axes that queries look at: what a key has beyond is noise.
Index feature_axes(const SyntheticOptions& options) { return kHeavyAxis + 1 + drift_sets(options); }

}  // namespace

Index question_begin(const SyntheticOptions& options) { return options.length - question_length(options); }

Span needle_span(const SyntheticOptions& options, Index prompt) {
  const Index length = std::clamp<Index>(options.length / 32, 1, 8);
  // Depths spread over the context, each somewhere in its own part; position 0 is the sink's.
  const double part = 1.0 / static_cast<double>(options.prompts);
  const double jitter = stream(options, Purpose::kNeedle, prompt, 0, 0, 0).uniform();
  const double depth = (static_cast<double>(prompt) + jitter) * part;
  const Index begin = 1 + static_cast<Index>(depth * static_cast<double>(question_begin(options) - length - 1));
  return {"needle", begin, begin + length};
}

std::vector<std::int32_t> synthetic_tokens(const SyntheticOptions& options, Index prompt) {
  Random random = stream(options, Purpose::kTokens, prompt, 0, 0, 0);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(options.length + options.future));
  for (std::int32_t& token : tokens) token = static_cast<std::int32_t>(random.below(kVocabulary));
  return tokens;
}

RowMatrix synthetic_key_features(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head) {
  const Index positions = options.length + options.future;
  RowMatrix features = RowMatrix::Zero(positions, feature_axes(options));
  for (Index j = 0; j < positions; ++j) {
    features(j, kPositionAxis) = static_cast<float>(static_cast<double>(j) * kPositionUnit);
  }
  features(0, kSinkAxis) = 1.0F;
  const Span needle = needle_span(options, prompt);
  features.col(kNeedleAxis).segment(needle.begin, needle.end - needle.begin).setOnes();
  for (Index set = 0; set <= drift_sets(options); ++set) {
    for (const Index j : synthetic_heavy_hitters(options, prompt, layer, kv_head, set)) {
      features(j, kHeavyAxis + set) = 1.0F;
    }
  }
  round_to(options.element_type, features);
  return features;
}

RowMatrix synthetic_keys(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head) {
  const Index features = feature_axes(options);
  RowMatrix keys = RowMatrix::Zero(options.length + options.future, options.head_dim);
  Random random = stream(options, Purpose::kKeys, prompt, layer, kv_head, 0);
  for (Index j = 0; j < keys.rows(); ++j) {
    for (Index c = features; c < options.head_dim - 1; ++c) keys(j, c) = static_cast<float>(random.normal());
  }
  round_to(options.element_type, keys);
  keys.leftCols(features) = synthetic_key_features(options, prompt, layer, kv_head);
  return keys;
}

RowMatrix synthetic_values(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head, Index first,
                           Index count) {
  RowMatrix values(count, options.head_dim);
  Random random = stream(options, Purpose::kValues, prompt, layer, kv_head, 0);
  random.skip(static_cast<std::uint64_t>(first * (1 + options.head_dim * Random::kNormalDraws)));
  for (Index j = 0; j < count; ++j) {
    // The sink's value is small and a few positions' are large, as in trained models.
    const bool large = random.uniform() < 0.02;
    const double size = first + j == 0 ? 0.1 : large ? 8.0 : 1.0;
    for (Index c = 0; c < values.cols(); ++c) values(j, c) = static_cast<float>(size * random.normal());
  }
  round_to(options.element_type, values);
  return values;
}

std::vector<QueryRun> synthetic_query_runs(const SyntheticOptions& options, const LayerShape& shape, Index head) {
  const Index positions = options.length + options.future;
  // The query's value on the axis makes a key's 1 there add `logit`.
  const auto run = [&](Index begin, Index end, Index axis, double logit) {
    const auto value = static_cast<float>(logit / shape.attention_scale);
    const bool half = options.element_type == ElementType::kFloat16;
    return QueryRun{begin, end, axis, half ? core::to_float(core::to_half(value)) : value};
  };
  switch (synthetic_head_kind(options, shape.layer, head)) {
    case HeadKind::kUniform:
      break;
    case HeadKind::kSink:
      return {run(0, positions, kSinkAxis, options.sink_logit)};
    case HeadKind::kLocal:
      return {run(0, positions, kPositionAxis, -std::log(options.local_ratio) / kPositionUnit)};
    case HeadKind::kHeavyHitter:
      return {run(0, positions, kHeavyAxis, options.heavy_logit)};
    case HeadKind::kRetrieval:
      return {run(0, question_begin(options), kNeedleAxis, 0.0),
              run(question_begin(options), positions, kNeedleAxis, options.needle_logit)};
    case HeadKind::kDrift: {
      std::vector<QueryRun> runs;
      for (Index t = 0; t < positions; ++t) {
        const Index axis = kHeavyAxis + drift_set_at(options, t);
        if (runs.empty() || runs.back().axis != axis) runs.push_back(run(t, t, axis, options.heavy_logit));
        runs.back().end = t + 1;
      }
      return runs;
    }
  }
  return {run(0, positions, kPositionAxis, 0.0)};
}

RowMatrix synthetic_queries(const SyntheticOptions& options, Index prompt, const LayerShape& shape, Index head) {
  RowMatrix queries = RowMatrix::Zero(options.length + options.future, options.head_dim);
  Random random = stream(options, Purpose::kQueries, prompt, shape.layer, head, 0);
  for (Index t = 0; t < queries.rows(); ++t) queries(t, options.head_dim - 1) = static_cast<float>(random.normal());
  round_to(options.element_type, queries);
  for (const QueryRun& run : synthetic_query_runs(options, shape, head)) {
    queries.col(run.axis).segment(run.begin, run.end - run.begin).setConstant(run.value);
  }
  return queries;
}

RowMatrix synthetic_output_weight(const SyntheticOptions& options, Index layer) {
  const Index rows = options.query_heads * options.head_dim;
  Random random = stream(options, Purpose::kOutputWeight, 0, layer, 0, 0);
  const double size = 1.0 / std::sqrt(static_cast<double>(rows));
  RowMatrix weight(rows, synthetic_hidden_size(options));
  for (Index i = 0; i < weight.size(); ++i) weight.data()[i] = static_cast<float>(size * random.normal());
  return weight;
}

HeadKind synthetic_head_kind(const SyntheticOptions& options, Index layer, Index query_head) {
  if (!options.kinds.empty()) {
    const auto index = static_cast<std::size_t>(layer * options.query_heads + query_head);
    return options.kinds[index % options.kinds.size()];
  }
  using enum HeadKind;
  constexpr std::array<std::array<HeadKind, 4>, 3> kMixture = {{{kLocal, kLocal, kSink, kHeavyHitter},
                                                                {kRetrieval, kHeavyHitter, kDrift, kLocal},
                                                                {kSink, kUniform, kSink, kRetrieval}}};
  // A model of one layer is all middle.
  const Index third = options.layers == 1 ? 1 : 3 * layer / options.layers;
  return kMixture[static_cast<std::size_t>(third)][static_cast<std::size_t>((layer + query_head) % 4)];
}

std::string_view head_kind_name(HeadKind kind) {
  switch (kind) {
    case HeadKind::kUniform:
      return "uniform";
    case HeadKind::kSink:
      return "sink";
    case HeadKind::kLocal:
      return "local";
    case HeadKind::kHeavyHitter:
      return "heavy-hitter";
    case HeadKind::kRetrieval:
      return "retrieval";
    case HeadKind::kDrift:
      return "drift";
  }
  return "unknown";
}

// As many axes as there are between the heavy hitters' and the queries' noise, up to four.
Index drift_sets(const SyntheticOptions& options) { return std::min<Index>(4, options.head_dim - kHeavyAxis - 2); }

Index drift_set_at(const SyntheticOptions& options, Index position) {
  if (position < options.length) return 1;
  return 1 + (position - options.length) * drift_sets(options) / options.future;
}

std::vector<Index> synthetic_heavy_hitters(const SyntheticOptions& options, Index prompt, Index layer, Index kv_head,
                                           Index set) {
  Random random = stream(options, Purpose::kHeavy, prompt, layer, kv_head, set);
  std::vector<Index> positions;
  while (static_cast<Index>(positions.size()) < options.heavy_hitters) {
    const Index candidate = 1 + random.below(options.length - 1);  // position 0 is the sink's
    const auto place = std::lower_bound(positions.begin(), positions.end(), candidate);
    if (place == positions.end() || *place != candidate) positions.insert(place, candidate);
  }
  return positions;
}

}  // namespace evictlab::trace
