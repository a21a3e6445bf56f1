#include "trace/synthetic.hpp"

#include <fmt/format.h>

#include <Eigen/Core>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/parallel.hpp"
#include "core/text.hpp"
#include "trace/synthetic_attention.hpp"
#include "trace/synthetic_material.hpp"

namespace evictlab::trace {
namespace {

// There is no stream that attention outputs are added to.
constexpr Fields kMissing = Field::kResidualNorms;

Fields extra_fields(const SyntheticOptions& options) {
  return options.repeat_attention ? Fields(Field::kRepeatAttention) : Fields();
}

Fields recorded_fields(const SyntheticOptions& options) {
  return tier_fields(options.tier).without(kMissing) | extra_fields(options);
}

// Bytes of one layer in memory, W_O included.
double layer_bytes(const SyntheticOptions& options) {
  LayerShape shape;
  shape.query_heads = options.query_heads;
  shape.kv_heads = options.kv_heads;
  shape.head_dim = options.head_dim;
  shape.prompt_length = options.length;
  shape.future_length = options.future;
  shape.window = options.window;
  double elements =
      static_cast<double>(options.query_heads * options.head_dim) * static_cast<double>(synthetic_hidden_size(options));
  for (const Field field : kAllFields) {
    if (!recorded_fields(options).contains(field)) continue;
    const FieldShape size = field_shape(field, shape);
    elements += static_cast<double>(size.heads) * static_cast<double>(size.rows) * static_cast<double>(size.columns);
  }
  return elements * static_cast<double>(sizeof(float));
}

// Everything that a prompt's arrays depend on: traces of other options must not be mixed with these.
std::string options_text(const SyntheticOptions& options) {
  std::string text = fmt::format(
      "seed={},prompts={},layers={},query_heads={},kv_heads={},head_dim={},length={},future={},window={},"
      "sliding_window={},tier={},dtype={},sink_logit={},heavy_logit={},needle_logit={},local_ratio={},heavy_hitters={}",
      options.seed, options.prompts, options.layers, options.query_heads, options.kv_heads, options.head_dim,
      options.length, options.future, options.window, options.sliding_window, tier_name(options.tier),
      options.element_type == ElementType::kFloat16 ? "float16" : "float32", options.sink_logit, options.heavy_logit,
      options.needle_logit, options.local_ratio, options.heavy_hitters);
  // Named only where it is not what it always was: traces made before have the same text.
  if (synthetic_hidden_size(options) != options.query_heads * options.head_dim) {
    text += fmt::format(",hidden_size={}", options.hidden_size);
  }
  if (options.repeat_attention) text += ",repeat_attention";
  for (const HeadKind kind : options.kinds) text += fmt::format(",{}", head_kind_name(kind));
  return text;
}

void check_range(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return;
  throw TraceError("synthetic trace: {} must be from {} to {}, not {}", name, low, high, value);
}
void check_range(const char* name, Index value, Index low, Index high) {
  if (value >= low && value <= high) return;
  throw TraceError("synthetic trace: {} must be from {} to {}, not {}", name, low, high, value);
}

}  // namespace

void check(const SyntheticOptions& options) {
  check_range("prompts", options.prompts, 1, 100000);
  check_range("layers", options.layers, 1, 1024);
  check_range("query_heads", options.query_heads, 1, 1024);
  check_range("kv_heads", options.kv_heads, 1, options.query_heads);
  if (options.query_heads % options.kv_heads != 0) {
    throw TraceError("synthetic trace: query_heads ({}) must be a multiple of kv_heads ({})", options.query_heads,
                     options.kv_heads);
  }
  check_range("head_dim", options.head_dim, 8, 1024);
  check_range("length", options.length, 16, Index{1} << 20);
  check_range("future", options.future, 1, Index{1} << 20);
  check_range("window", options.window, 1, options.length);
  check_range("sliding_window", options.sliding_window, 0, Index{1} << 20);
  check_range("sink_logit", options.sink_logit, 0.0, 50.0);
  check_range("heavy_logit", options.heavy_logit, 0.0, 50.0);
  check_range("needle_logit", options.needle_logit, 0.0, 50.0);
  check_range("local_ratio", options.local_ratio, 0.01, 0.9999);
  check_range("heavy_hitters", options.heavy_hitters, 1, std::min<Index>(4096, options.length / 2));
  check_range("hidden_size", options.hidden_size, 0, Index{1} << 20);
  if (const double bytes = layer_bytes(options); bytes > 0x1p36) {
    throw TraceError("synthetic trace: one layer would take {}; at most 64 GiB", core::format_bytes(bytes));
  }
}

MemoryTrace synthesize(const SyntheticOptions& options) {
  check(options);
  MemoryTrace trace(synthetic_model(options));
  if (options.tier == Tier::kFull) {
    std::vector<RowMatrix> weights;
    for (Index layer = 0; layer < options.layers; ++layer) weights.push_back(synthetic_output_weight(options, layer));
    trace.set_output_weights(std::move(weights));
  }
  for (Index prompt = 0; prompt < options.prompts; ++prompt) trace.add_prompt(synthetic_prompt(options, prompt));
  return trace;
}

ModelInfo synthetic_model(const SyntheticOptions& options) {
  check(options);
  ModelInfo model;
  model.name = "synthetic";
  model.architecture = "synthetic";
  model.layers = options.layers;
  model.query_heads = options.query_heads;
  model.kv_heads = options.kv_heads;
  model.head_dim = options.head_dim;
  model.hidden_size = synthetic_hidden_size(options);
  model.attention_scale = 1.0 / std::sqrt(static_cast<double>(options.head_dim));
  for (Index layer = 0; layer < options.layers; ++layer) {
    model.sliding_windows.push_back(layer % 2 == 1 ? options.sliding_window : 0);
  }
  model.position_encoding = "none";
  model.fingerprint = "synthetic:" + options_text(options);
  model.cache_element_bytes = options.element_type == ElementType::kFloat16 ? 2 : 4;
  return model;
}

Index synthetic_hidden_size(const SyntheticOptions& options) {
  return options.hidden_size > 0 ? options.hidden_size : options.query_heads * options.head_dim;
}

std::string synthetic_prompt_id(Index prompt) { return fmt::format("synth-{:03}", prompt); }

PromptInfo synthetic_prompt_info(const SyntheticOptions& options, Index prompt) {
  PromptInfo info;
  info.id = synthetic_prompt_id(prompt);
  info.task = "needle";
  info.source = fmt::format("synthetic(seed={})", options.seed);
  info.prompt_length = options.length;
  info.future_length = options.future;
  info.future_kind = "teacher-forced";
  info.tier = options.tier;
  info.window = options.window;
  if (tier_fields(options.tier).contains(kMissing)) info.missing = kMissing;
  info.extra = extra_fields(options);
  info.spans = {{"context", 0, question_begin(options)},
                needle_span(options, prompt),
                {"question", question_begin(options), options.length}};
  for (Index layer = 0; layer < options.layers; ++layer) info.layers.push_back(layer);
  return info;
}

MemoryTrace::Prompt synthetic_prompt(const SyntheticOptions& options, Index prompt) {
  MemoryTrace::Prompt out{synthetic_prompt_info(options, prompt), synthetic_tokens(options, prompt), {}};
  for (const Index layer : out.info.layers) out.layers.push_back(synthetic_layer(options, prompt, layer));
  return out;
}

namespace {

using RowMatrixDouble = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr Index kValueBlock = 256;  // positions whose values are drawn and used at a time

void set_double_row(Tensor& tensor, Index head, Index row, const std::vector<double>& values) {
  const std::vector<float> floats(values.begin(), values.end());
  tensor.set_row(head, row, floats);
}

void add(const std::vector<double>& part, std::vector<double>& sum) {
  for (std::size_t j = 0; j < part.size(); ++j) sum[j] += part[j];
}

// `features` are the keys of the head's kv head on the axes that queries look at.
void record_attention(const std::vector<QueryRun>& runs, const RowMatrix& features, Index head, LayerData& out) {
  const LayerShape& shape = out.shape;
  const Index n = shape.prompt_length;
  std::vector<double> prompt_mass(static_cast<std::size_t>(n));
  std::vector<double> future_mass(static_cast<std::size_t>(features.rows()));
  std::vector<double> row(static_cast<std::size_t>(n));
  for (const QueryRun& run : runs) {
    const Eigen::VectorXd products =
        features.col(run.axis).head(run.end).cast<double>() * static_cast<double>(run.value);
    const std::span<const double> logits(products.data(), static_cast<std::size_t>(run.end));
    const auto mass = [&](Index begin, Index end) {
      return attention_mass(logits.first(static_cast<std::size_t>(end)), shape.attention_scale, shape.sliding_window,
                            begin, end);
    };
    if (run.begin < n) add(mass(run.begin, std::min(n, run.end)), prompt_mass);
    if (run.end > n) add(mass(std::max(n, run.begin), run.end), future_mass);
    for (Index t = std::max(run.begin, n - shape.window); t < std::min(n, run.end); ++t) {
      std::ranges::fill(row, 0.0);
      softmax_row(logits, shape.attention_scale, shape.first_seen(t), t, row);
      set_double_row(out.window_attention, head, t - (n - shape.window), row);
    }
  }
  set_double_row(out.attention_mass, head, 0, prompt_mass);
  set_double_row(out.future_mass, head, 0, future_mass);
}

// ||v W||_1 with W [d, hidden]. Each output is summed over the axes in order, as many outputs at a time as registers
// hold.
double output_norm(const double* value, const RowMatrixDouble& weight, Index first_row, Index axes) {
  constexpr Index kTile = 16;
  using Tile = Eigen::Array<double, 1, kTile>;
  double norm = 0.0;
  Index i = 0;
  for (; i + kTile <= weight.cols(); i += kTile) {
    Tile output = Tile::Zero();
    for (Index c = 0; c < axes; ++c) {
      output += value[c] * Eigen::Map<const Tile>(weight.data() + (first_row + c) * weight.cols() + i);
    }
    for (Index k = 0; k < kTile; ++k) norm += std::abs(output[k]);
  }
  for (; i < weight.cols(); ++i) {
    double output = 0.0;
    for (Index c = 0; c < axes; ++c) output += value[c] * weight(first_row + c, i);
    norm += std::abs(output);
  }
  return norm;
}

void copy_rows(const RowMatrix& from, Index first, Index head, Tensor& to, Index to_row, Index count) {
  for (Index row = 0; row < count; ++row) {
    to.set_row(head, to_row + row, {from.row(first + row).data(), static_cast<std::size_t>(from.cols())});
  }
}

// Values are drawn, used for the norms ||v_j W_O^(h)||_1 and, in the full tier, stored block by block.
void record_values(const SyntheticOptions& options, Index prompt, LayerData& out) {
  const LayerShape& shape = out.shape;
  const Index positions = shape.prompt_length + shape.future_length;
  const Index blocks = (positions + kValueBlock - 1) / kValueBlock;
  const RowMatrixDouble weight = synthetic_output_weight(options, shape.layer).cast<double>();  // [H*d, hidden]
  const std::span<float> norms = out.output_norms.floats();
  core::parallel_for(static_cast<std::size_t>(shape.kv_heads * blocks), [&](std::size_t index) {
    const Index kv_head = static_cast<Index>(index) / blocks;
    const Index first = static_cast<Index>(index) % blocks * kValueBlock;
    const Index count = std::min(kValueBlock, positions - first);
    const RowMatrix values = synthetic_values(options, prompt, shape.layer, kv_head, first, count);
    if (!out.values.empty()) copy_rows(values, 0, kv_head, out.values, first, count);
    const RowMatrixDouble block = values.cast<double>();
    for (Index head = kv_head * shape.group_size(); head < (kv_head + 1) * shape.group_size(); ++head) {
      for (Index j = 0; j < count; ++j) {
        const double norm = output_norm(block.row(j).data(), weight, head * shape.head_dim, shape.head_dim);
        norms[static_cast<std::size_t>(head * positions + first + j)] = static_cast<float>(norm);
      }
    }
  });
}

void record_queries(const RowMatrix& queries, Index head, LayerData& out) {
  copy_rows(queries, out.shape.prompt_length - out.shape.window, head, out.queries, 0, out.queries.rows());
  const Index count = out.query_count;
  const Eigen::MatrixXd prompt = queries.middleRows(kFirstStatisticsPosition, count).cast<double>();
  const Eigen::RowVectorXd mean = prompt.colwise().sum() / static_cast<double>(count);
  const Eigen::MatrixXd centred = prompt.rowwise() - mean;
  const RowMatrix covariance = (centred.transpose() * centred / static_cast<double>(count)).cast<float>();
  set_double_row(out.query_mean, head, 0, {mean.begin(), mean.end()});
  copy_rows(covariance, 0, head, out.query_covariance, 0, covariance.rows());
}

LayerData empty_layer(const SyntheticOptions& options, const LayerShape& shape) {
  LayerData out;
  out.shape = shape;
  for (const Field field : kAllFields) {
    if (!recorded_fields(options).contains(field)) continue;
    const FieldShape size = field_shape(field, shape);
    const FieldElements elements = field_info(field).elements;
    const bool half = elements == FieldElements::kHalf;
    const ElementType type = half                                      ? ElementType::kFloat16
                             : elements == FieldElements::kHalfOrFloat ? options.element_type
                                                                       : ElementType::kFloat32;
    out[field] = Tensor(type, size.heads, size.rows, size.columns,
                        field == Field::kWindowAttention ? kWindowAttentionScale : 1.0F);
  }
  if (options.tier == Tier::kFull) out.query_count = shape.prompt_length - kFirstStatisticsPosition;
  return out;
}

void record_repeat_attention(LayerData& out) {
  const LayerShape& shape = out.shape;
  for (Index head = 0; head < shape.kv_heads; ++head) {
    RowMatrix most = RowMatrix::Zero(1, shape.prompt_length);
    for (Index i = 0; i < shape.group_size(); ++i) {
      const RowMatrix rows = out.window_attention.view().copy_head(head * shape.group_size() + i);
      most = most.cwiseMax(rows.colwise().maxCoeff()).eval();
    }
    out.repeat_attention.set_row(head, 0, {most.data(), static_cast<std::size_t>(most.size())});
  }
}

}  // namespace

// In the summary tier what is not recorded and changes nothing is not drawn: noise of keys and queries.
LayerData synthetic_layer(const SyntheticOptions& options, Index prompt, Index layer) {
  LayerData out =
      empty_layer(options, layer_shape(synthetic_model(options), synthetic_prompt_info(options, prompt), layer));
  const LayerShape& shape = out.shape;
  const bool full = options.tier == Tier::kFull;
  std::vector<RowMatrix> features(static_cast<std::size_t>(shape.kv_heads));
  core::parallel_for(features.size(), [&](std::size_t index) {
    const auto kv_head = static_cast<Index>(index);
    features[index] = synthetic_key_features(options, prompt, layer, kv_head);
    if (!full) return;
    const RowMatrix keys = synthetic_keys(options, prompt, layer, kv_head);
    copy_rows(keys, 0, kv_head, out.keys, 0, keys.rows());
  });
  core::parallel_for(static_cast<std::size_t>(shape.query_heads), [&](std::size_t index) {
    const auto head = static_cast<Index>(index);
    record_attention(synthetic_query_runs(options, shape, head),
                     features[static_cast<std::size_t>(shape.kv_head_of(head))], head, out);
    if (full) record_queries(synthetic_queries(options, prompt, shape, head), head, out);
  });
  record_values(options, prompt, out);
  if (options.repeat_attention) record_repeat_attention(out);
  return out;
}

double uniform_attention(Index t) { return 1.0 / static_cast<double>(t + 1); }

double sink_attention(double logit, Index t) { return preferred_attention(logit, 1, t); }

double local_attention(double ratio, Index t, Index j) {
  return (1.0 - ratio) * std::pow(ratio, static_cast<double>(t - j)) /
         (1.0 - std::pow(ratio, static_cast<double>(t + 1)));
}

double preferred_attention(double logit, Index m, Index t) {
  return std::exp(logit) / (static_cast<double>(m) * std::exp(logit) + static_cast<double>(t + 1 - m));
}

double other_attention(double logit, Index m, Index t) {
  return 1.0 / (static_cast<double>(m) * std::exp(logit) + static_cast<double>(t + 1 - m));
}

double uniform_mass(Index n, Index j) {
  double sum = 0.0;
  for (Index t = j; t < n; ++t) sum += uniform_attention(t);
  return sum;
}

}  // namespace evictlab::trace
