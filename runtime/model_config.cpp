#include "runtime/model_config.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/json.hpp"
#include "core/message.hpp"
#include "runtime/model_error.hpp"
#include "runtime/model_limits.hpp"

namespace evictlab::runtime {
namespace {

// What transformers' configurations of Mistral and Qwen2 take when config.json does not say.
constexpr Index kDefaultSlidingWindow = 4096;
constexpr Index kDefaultMaxWindowLayers = 28;

const Architecture& read_architecture(const core::JsonNode& keys) {
  const core::JsonNode list = keys.at("architectures");
  const std::vector<core::JsonNode> names = list.items();
  if (names.size() != 1) list.fail("expected one name, got {}", names.size());
  return find_architecture(names.front());
}

/// A token id or a list of them.
std::optional<std::vector<std::int32_t>> read_eos(const core::JsonNode& keys, Index vocab_size) {
  const auto value = keys.find("eos_token_id");
  if (!value) return std::nullopt;
  std::vector<std::int32_t> ids;
  for (const core::JsonNode& id : value->is_array() ? value->items() : std::vector{*value}) {
    ids.push_back(static_cast<std::int32_t>(id.integer(0, vocab_size - 1)));
  }
  return ids;
}

std::string read_dtype(const core::JsonNode& keys) {
  const std::string dtype = keys.find_string("dtype").value_or(keys.find_string("torch_dtype").value_or(""));
  const std::string_view known[] = {"", "float32", "float16", "bfloat16"};
  if (std::ranges::find(known, dtype) == std::end(known)) {
    keys.fail("dtype '{}' is not supported; known: float32, float16, bfloat16", dtype);
  }
  return dtype;
}

/// What config.json says, what the architecture says, or hidden_size / num_attention_heads.
Index read_head_dim(const core::JsonNode& keys, const ModelConfig& config) {
  auto said = keys.find_integer("head_dim", 1, kLargestSize);
  if (!said && config.architecture->default_head_dim > 0) said = config.architecture->default_head_dim;
  if (!said && config.hidden_size % config.query_heads != 0) {
    keys.fail("hidden_size {} is not a multiple of num_attention_heads {}, and head_dim is missing", config.hidden_size,
              config.query_heads);
  }
  const Index head_dim = said.value_or(config.hidden_size / config.query_heads);
  if (head_dim % 2 != 0) keys.fail("head_dim is {}, expected an even number", head_dim);
  if (head_dim * config.query_heads > kLargestSize) {
    keys.fail("num_attention_heads {} of head_dim {} are more than {} values", config.query_heads, head_dim,
              kLargestSize);
  }
  return head_dim;
}

/// null means none (0), but a configuration that does not mention it has the default.
Index read_window(const core::JsonNode& keys) {
  const Index otherwise = keys.contains("sliding_window") ? 0 : kDefaultSlidingWindow;
  return keys.find_integer("sliding_window", 1, trace::kMaxPositions - 1).value_or(otherwise);
}

/// One window per layer, as transformers takes it from layer_types or from max_window_layers (the first layers
/// see everything).
std::vector<Index> read_chosen_windows(const core::JsonNode& keys, std::size_t layers) {
  const Index window = keys.flag("use_sliding_window") ? read_window(keys) : 0;
  std::vector<Index> windows(layers, 0);
  const auto types = keys.find("layer_types");
  if (!types) {
    const auto from = keys.find_integer("max_window_layers", 0, kLargestSize).value_or(kDefaultMaxWindowLayers);
    for (std::size_t layer = 0; window > 0 && layer < layers; ++layer) {
      if (static_cast<Index>(layer) >= from) windows[layer] = window;
    }
    return windows;
  }
  const std::vector<core::JsonNode> list = types->items();
  if (list.size() != layers) types->fail("expected one type for each of {} layers, got {}", layers, list.size());
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const std::string& type = list[layer].string();
    if (type == "full_attention") continue;
    if (type != "sliding_attention") {
      list[layer].fail("{} is not supported; known: full_attention, sliding_attention", core::quote(type));
    }
    if (window == 0) {
      list[layer].fail("is sliding_attention, but use_sliding_window is not true or there is no sliding_window");
    }
    windows[layer] = window;
  }
  return windows;
}

std::vector<Index> read_sliding_windows(const core::JsonNode& keys, const ModelConfig& config) {
  const auto layers = static_cast<std::size_t>(config.layers);
  switch (config.architecture->sliding_window) {
    case SlidingWindowRule::kNever:
      break;
    case SlidingWindowRule::kEveryLayer:
      return std::vector<Index>(layers, read_window(keys));
    case SlidingWindowRule::kChosenLayers:
      return read_chosen_windows(keys, layers);
  }
  return std::vector<Index>(layers, 0);
}

void read_biases(const core::JsonNode& keys, ModelConfig& config) {
  const Architecture& row = *config.architecture;
  const auto says = [&](std::string_view key) { return !key.empty() && keys.flag(key); };
  config.attention_output_bias = says(row.attention_bias_key);
  config.query_key_value_bias = row.always_query_key_value_bias || config.attention_output_bias;
  config.mlp_bias = says(row.mlp_bias_key);
}

void refuse_unsupported(const core::JsonNode& keys) {
  const std::string activation = keys.find_string("hidden_act").value_or("silu");
  if (activation != "silu") {
    keys.fail("hidden_act '{}' is not supported; known: silu", activation);
  }
  if (const auto quantization = keys.find("quantization_config")) {
    keys.fail("quantization_config ('{}') is not supported; expected F32, F16 or BF16 weights",
              quantization->find_string("quant_method").value_or("?"));
  }
}

}  // namespace

double ModelConfig::attention_scale() const { return 1.0 / std::sqrt(static_cast<double>(head_dim)); }

ModelConfig parse_model_config(const core::JsonNode& keys) {
  ModelConfig config;
  config.architecture = &read_architecture(keys);
  config.modules = config.architecture->modules;
  refuse_unsupported(keys);
  config.layers = keys.at("num_hidden_layers").integer(1, kMostLayers);
  config.hidden_size = keys.at("hidden_size").integer(1, kLargestSize);
  config.query_heads = keys.at("num_attention_heads").integer(1, kLargestSize);
  config.kv_heads = keys.find_integer("num_key_value_heads", 1, kLargestSize).value_or(config.query_heads);
  if (config.query_heads % config.kv_heads != 0) {
    keys.fail("num_attention_heads {} is not a multiple of num_key_value_heads {}", config.query_heads,
              config.kv_heads);
  }
  config.head_dim = read_head_dim(keys, config);
  config.intermediate_size = keys.at("intermediate_size").integer(1, kLargestSize);
  config.vocab_size = keys.at("vocab_size").integer(1, kLargestSize);
  config.max_positions = keys.at("max_position_embeddings").integer(1, trace::kMaxPositions);
  config.rms_norm_eps = keys.find_positive("rms_norm_eps").value_or(config.rms_norm_eps);
  config.rope = read_rope_config(keys, config.max_positions);
  config.max_positions = stretched_positions(config.rope, config.max_positions);
  config.tie_word_embeddings = keys.flag("tie_word_embeddings");
  read_biases(keys, config);
  config.sliding_windows = read_sliding_windows(keys, config);
  config.dtype = read_dtype(keys);
  config.eos_token_ids = read_eos(keys, config.vocab_size).value_or(std::vector<std::int32_t>{});
  return config;
}

ModelConfig read_model_config(const std::filesystem::path& model) {
  core::require_model_path(model);
  if (core::is_gguf_path(model)) return read_gguf_config(core::GgufFile(model));
  const auto document = core::JsonDocument::read<ModelError>(model / "config.json");
  ModelConfig config = parse_model_config(document.root());
  // As transformers does: what generation_config.json says about ending replaces what config.json says.
  const std::filesystem::path generation_path = model / "generation_config.json";
  if (std::filesystem::exists(generation_path)) {
    const auto generation = core::JsonDocument::read<ModelError>(generation_path);
    if (auto ids = read_eos(generation.root(), config.vocab_size)) {
      config.eos_token_ids = std::move(*ids);
    }
  }
  return config;
}

}  // namespace evictlab::runtime
