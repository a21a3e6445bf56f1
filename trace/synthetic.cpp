#include "trace/synthetic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <utility>

#include "core/parallel.hpp"
#include "core/text.hpp"
#include "trace/synthetic_material.hpp"

namespace evictlab::trace {
namespace {

// row[j] = softmax over j in [first, t] of scale * q_t·k_j, in double. `keys` has one column per axis.
void softmax_row(const RowMatrix& queries, Index t, const Eigen::MatrixXd& keys, double scale, Index first,
                 std::vector<double>& row) {
  const auto at = [](Index i) { return static_cast<std::size_t>(i); };
  std::fill(row.begin() + first, row.begin() + t + 1, 0.0);
  for (Index c = 0; c < queries.cols(); ++c) {
    if (queries(t, c) == 0.0F) continue;  // most axes; adds nothing
    const double query = static_cast<double>(queries(t, c));
    for (Index j = first; j <= t; ++j) row[at(j)] += query * keys(j, c);
  }
  const double largest = *std::max_element(row.begin() + first, row.begin() + t + 1);
  double sum = 0.0;
  for (Index j = first; j <= t; ++j) sum += row[at(j)] = std::exp(scale * (row[at(j)] - largest));
  for (Index j = first; j <= t; ++j) row[at(j)] /= sum;
}

void set_double_row(Tensor& tensor, Index head, Index row, const std::vector<double>& values) {
  const std::vector<float> floats(values.begin(), values.end());
  tensor.set_row(head, row, floats);
}

void record_attention(const RowMatrix& queries, const RowMatrix& kv_keys, Index head, LayerData& out) {
  const LayerShape& shape = out.shape;
  const Index n = shape.prompt_length;
  const Index positions = n + shape.future_length;
  const Eigen::MatrixXd keys = kv_keys.cast<double>();
  std::vector<double> row(static_cast<std::size_t>(positions));
  std::vector<double> prompt_mass(static_cast<std::size_t>(n));
  std::vector<double> future_mass(static_cast<std::size_t>(positions));
  std::vector<float> window_row(static_cast<std::size_t>(n));
  for (Index t = 0; t < positions; ++t) {
    const Index first = shape.first_seen(t);
    softmax_row(queries, t, keys, shape.attention_scale, first, row);
    std::vector<double>& mass = t < n ? prompt_mass : future_mass;
    for (auto j = static_cast<std::size_t>(first); j <= static_cast<std::size_t>(t); ++j) mass[j] += row[j];
    if (t < n - shape.window || t >= n) continue;
    std::fill(window_row.begin(), window_row.end(), 0.0F);
    std::transform(row.begin() + first, row.begin() + t + 1, window_row.begin() + first,
                   [](double p) { return static_cast<float>(p); });
    out.window_attention.set_row(head, t - (n - shape.window), window_row);
  }
  set_double_row(out.attention_mass, head, 0, prompt_mass);
  set_double_row(out.future_mass, head, 0, future_mass);
}

// ||v_j W_O^(h)||_1 for every position j; `weight` is W_O [H*d, hidden].
void record_output_norms(const RowMatrix& values, const RowMatrix& weight, Index head, LayerData& out) {
  const Index d = out.shape.head_dim;
  std::vector<double> norms(static_cast<std::size_t>(values.rows()));
  Eigen::RowVectorXd output(weight.cols());
  for (Index j = 0; j < values.rows(); ++j) {
    output.setZero();
    for (Index c = 0; c < d; ++c) {
      output += static_cast<double>(values(j, c)) * weight.row(head * d + c).cast<double>();
    }
    double norm = 0.0;
    for (Index i = 0; i < output.size(); ++i) norm += std::abs(output[i]);
    norms[static_cast<std::size_t>(j)] = norm;
  }
  set_double_row(out.output_norms, head, 0, norms);
}

void record_query_statistics(const RowMatrix& queries, Index head, LayerData& out) {
  const Index count = out.query_count;
  const Eigen::MatrixXd prompt = queries.middleRows(kFirstStatisticsPosition, count).cast<double>();
  const Eigen::RowVectorXd mean = prompt.colwise().sum() / static_cast<double>(count);
  const Eigen::MatrixXd centred = prompt.rowwise() - mean;
  const RowMatrix covariance = (centred.transpose() * centred / static_cast<double>(count)).cast<float>();
  set_double_row(out.query_mean, head, 0, {mean.begin(), mean.end()});
  for (Index c = 0; c < covariance.rows(); ++c) {
    out.query_covariance.set_row(head, c, {covariance.row(c).data(), static_cast<std::size_t>(covariance.cols())});
  }
}

void copy_rows(const RowMatrix& from, Index first, Index head, Tensor& to) {
  for (Index row = 0; row < to.rows(); ++row) {
    to.set_row(head, row, {from.row(first + row).data(), static_cast<std::size_t>(from.cols())});
  }
}

LayerData empty_layer(const SyntheticOptions& options, const LayerShape& shape) {
  LayerData out;
  out.shape = shape;
  for (const Field field : kAllFields) {
    if (!tier_fields(options.tier).contains(field)) continue;
    const FieldShape size = field_shape(field, shape);
    const bool half = field == Field::kWindowAttention;
    const bool typed = field == Field::kQueries || field == Field::kKeys || field == Field::kValues;
    const ElementType type = half ? ElementType::kFloat16 : typed ? options.element_type : ElementType::kFloat32;
    out[field] = Tensor(type, size.heads, size.rows, size.columns, half ? kWindowAttentionScale : 1.0F);
  }
  if (options.tier == Tier::kFull) out.query_count = shape.prompt_length - kFirstStatisticsPosition;
  return out;
}

LayerData make_layer(const SyntheticOptions& options, Index prompt, const LayerShape& shape) {
  LayerData out = empty_layer(options, shape);
  const bool full = options.tier == Tier::kFull;
  const RowMatrix weight = synthetic_output_weight(options, shape.layer);
  std::vector<RowMatrix> keys;
  std::vector<RowMatrix> values;
  for (Index g = 0; g < shape.kv_heads; ++g) {
    keys.push_back(synthetic_keys(options, prompt, shape.layer, g));
    values.push_back(synthetic_values(options, prompt, shape.layer, g));
    if (!full) continue;
    copy_rows(keys.back(), 0, g, out.keys);
    copy_rows(values.back(), 0, g, out.values);
  }
  core::parallel_for(static_cast<std::size_t>(shape.query_heads), [&](std::size_t index) {
    const auto head = static_cast<Index>(index);
    const auto kv_head = static_cast<std::size_t>(shape.kv_head_of(head));
    const RowMatrix queries = synthetic_queries(options, prompt, shape, head);
    record_attention(queries, keys[kv_head], head, out);
    record_output_norms(values[kv_head], weight, head, out);
    if (!full) return;
    copy_rows(queries, shape.prompt_length - shape.window, head, out.queries);
    record_query_statistics(queries, head, out);
  });
  return out;
}

// What one prompt's layers take in memory.
double prompt_bytes(const SyntheticOptions& options) {
  LayerShape shape;
  shape.query_heads = options.query_heads;
  shape.kv_heads = options.kv_heads;
  shape.head_dim = options.head_dim;
  shape.prompt_length = options.length;
  shape.future_length = options.future;
  shape.window = options.window;
  double elements = 0.0;
  for (const Field field : kAllFields) {
    if (!tier_fields(options.tier).contains(field)) continue;
    const FieldShape size = field_shape(field, shape);
    elements += static_cast<double>(size.heads) * static_cast<double>(size.rows) * static_cast<double>(size.columns);
  }
  return elements * static_cast<double>(sizeof(float)) * static_cast<double>(options.layers);
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
  if (const double bytes = prompt_bytes(options); bytes > 0x1p36) {
    throw TraceError("synthetic trace: one prompt would take {}; at most 64 GiB", core::format_bytes(bytes));
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
  model.hidden_size = options.query_heads * options.head_dim;
  model.attention_scale = 1.0 / std::sqrt(static_cast<double>(options.head_dim));
  for (Index layer = 0; layer < options.layers; ++layer) {
    model.sliding_windows.push_back(layer % 2 == 1 ? options.sliding_window : 0);
  }
  model.position_encoding = "none";
  model.fingerprint = "synthetic:" + options_text(options);
  model.cache_element_bytes = options.element_type == ElementType::kFloat16 ? 2 : 4;
  return model;
}

std::string synthetic_prompt_id(Index prompt) { return fmt::format("synth-{:03}", prompt); }

MemoryTrace::Prompt synthetic_prompt(const SyntheticOptions& options, Index prompt) {
  const ModelInfo model = synthetic_model(options);
  MemoryTrace::Prompt out;
  PromptInfo& info = out.info;
  info.id = synthetic_prompt_id(prompt);
  info.task = "needle";
  info.source = fmt::format("synthetic(seed={})", options.seed);
  info.prompt_length = options.length;
  info.future_length = options.future;
  info.future_kind = "teacher-forced";
  info.tier = options.tier;
  info.window = options.window;
  info.spans = {{"context", 0, question_begin(options)},
                needle_span(options, prompt),
                {"question", question_begin(options), options.length}};
  for (Index layer = 0; layer < options.layers; ++layer) info.layers.push_back(layer);

  out.tokens = synthetic_tokens(options, prompt);
  for (const Index layer : info.layers) {
    out.layers.push_back(make_layer(options, prompt, layer_shape(model, info, layer)));
  }
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
