#include "trace/synthetic.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/text.hpp"
#include "trace/synthetic_material.hpp"

namespace evictlab::trace {
namespace {

// What one layer takes in memory, W_O included.
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
    if (!tier_fields(options.tier).contains(field)) continue;
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
