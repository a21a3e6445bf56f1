#include "runtime/model_config.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "runtime/config_keys.hpp"
#include "runtime/json.hpp"
#include "runtime/model_error.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;

// What transformers' configurations of Mistral and Qwen2 take when config.json does not say.
constexpr Index kDefaultSlidingWindow = 4096;
constexpr Index kDefaultMaxWindowLayers = 28;

const Architecture& read_architecture(const ConfigKeys& keys) {
  const json* names = keys.find("architectures");
  if (names == nullptr) throw ModelError("{}: architectures is missing", keys.where());
  if (!names->is_array() || names->size() != 1 || !names->front().is_string()) {
    throw ModelError("{}: architectures is {}, expected a list of one name", keys.where(), names->dump());
  }
  return find_architecture(names->front().get<std::string>(), keys.where());
}

std::optional<std::vector<std::int32_t>> read_eos(const ConfigKeys& keys, Index vocab_size) {
  const json* value = keys.find("eos_token_id");
  if (value == nullptr) return std::nullopt;
  const json list = value->is_array() ? *value : json::array({*value});
  std::vector<std::int32_t> ids;
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= static_cast<std::uint64_t>(vocab_size)) {
      throw ModelError("{}: eos_token_id is {}, expected token ids below vocab_size {}", keys.where(), value->dump(),
                       vocab_size);
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

std::string read_dtype(const ConfigKeys& keys) {
  const std::string dtype = keys.text("dtype").value_or(keys.text("torch_dtype").value_or(""));
  const std::string_view known[] = {"", "float32", "float16", "bfloat16"};
  if (std::ranges::find(known, dtype) == std::end(known)) {
    throw ModelError("{}: dtype '{}' is not supported; known: float32, float16, bfloat16", keys.where(), dtype);
  }
  return dtype;
}

/// What config.json says, what the architecture says, or hidden_size / num_attention_heads.
Index read_head_dim(const ConfigKeys& keys, const ModelConfig& config) {
  auto said = keys.optional_size("head_dim", kLargestSize);
  if (!said && config.architecture->default_head_dim > 0) said = config.architecture->default_head_dim;
  if (!said && config.hidden_size % config.query_heads != 0) {
    throw ModelError("{}: hidden_size {} is not a multiple of num_attention_heads {}, and head_dim is missing",
                     keys.where(), config.hidden_size, config.query_heads);
  }
  const Index head_dim = said.value_or(config.hidden_size / config.query_heads);
  if (head_dim % 2 != 0) throw ModelError("{}: head_dim is {}, expected an even number", keys.where(), head_dim);
  if (head_dim * config.query_heads > kLargestSize) {
    throw ModelError("{}: num_attention_heads {} of head_dim {} are more than {} values", keys.where(),
                     config.query_heads, head_dim, kLargestSize);
  }
  return head_dim;
}

/// null means none (0), but a configuration that does not mention it has the default.
Index read_window(const ConfigKeys& keys) {
  const Index otherwise = keys.mentions("sliding_window") ? 0 : kDefaultSlidingWindow;
  return keys.optional_size("sliding_window", kMostPositions).value_or(otherwise);
}

/// One window per layer, as transformers takes it from layer_types or from max_window_layers (the first layers
/// see everything).
std::vector<Index> read_chosen_windows(const ConfigKeys& keys, std::size_t layers) {
  const Index window = keys.flag("use_sliding_window") ? read_window(keys) : 0;
  std::vector<Index> windows(layers, 0);
  const json* types = keys.find("layer_types");
  if (types == nullptr) {
    const auto from = keys.optional_size("max_window_layers", kLargestSize, 0).value_or(kDefaultMaxWindowLayers);
    for (std::size_t layer = 0; window > 0 && layer < layers; ++layer) {
      if (static_cast<Index>(layer) >= from) windows[layer] = window;
    }
    return windows;
  }
  if (!types->is_array() || types->size() != layers) {
    throw ModelError("{}: layer_types is {}, expected a list of {} layer types", keys.where(),
                     types->is_array() ? fmt::format("a list of {}", types->size()) : types->dump(), layers);
  }
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const json& type = (*types)[layer];
    if (type == "full_attention") continue;
    if (type != "sliding_attention") {
      throw ModelError("{}: layer type {} is not supported; known: full_attention, sliding_attention", keys.where(),
                       type.dump());
    }
    if (window == 0) {
      throw ModelError(
          "{}: layer_types has sliding_attention, but use_sliding_window is not true or there is no sliding_window",
          keys.where());
    }
    windows[layer] = window;
  }
  return windows;
}

std::vector<Index> read_sliding_windows(const ConfigKeys& keys, const ModelConfig& config) {
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

void read_biases(const ConfigKeys& keys, ModelConfig& config) {
  const Architecture& row = *config.architecture;
  const auto says = [&](std::string_view key) { return !key.empty() && keys.flag(std::string(key).c_str()); };
  config.attention_output_bias = says(row.attention_bias_key);
  config.query_key_value_bias = row.always_query_key_value_bias || config.attention_output_bias;
  config.mlp_bias = says(row.mlp_bias_key);
}

void refuse_unsupported(const ConfigKeys& keys) {
  const std::string activation = keys.text("hidden_act").value_or("silu");
  if (activation != "silu") {
    throw ModelError("{}: hidden_act '{}' is not supported; known: silu", keys.where(), activation);
  }
  if (const auto quantization = keys.object("quantization_config")) {
    throw ModelError("{}: quantization_config ('{}') is not supported; expected F32, F16 or BF16 weights", keys.where(),
                     quantization->text("quant_method").value_or("?"));
  }
}

}  // namespace

double ModelConfig::attention_scale() const { return 1.0 / std::sqrt(static_cast<double>(head_dim)); }

ModelConfig read_model_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "config.json";
  const json object = read_object(path);
  const ConfigKeys keys(object, path.string());

  ModelConfig config;
  config.architecture = &read_architecture(keys);
  refuse_unsupported(keys);
  config.layers = keys.size("num_hidden_layers", kMostLayers);
  config.hidden_size = keys.size("hidden_size", kLargestSize);
  config.query_heads = keys.size("num_attention_heads", kLargestSize);
  config.kv_heads = keys.optional_size("num_key_value_heads", kLargestSize).value_or(config.query_heads);
  if (config.query_heads % config.kv_heads != 0) {
    throw ModelError("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", keys.where(),
                     config.query_heads, config.kv_heads);
  }
  config.head_dim = read_head_dim(keys, config);
  config.intermediate_size = keys.size("intermediate_size", kLargestSize);
  config.vocab_size = keys.size("vocab_size", kLargestSize);
  config.max_positions = keys.size("max_position_embeddings", kMostPositions);
  config.rms_norm_eps = keys.optional_positive("rms_norm_eps").value_or(config.rms_norm_eps);
  config.rope = read_rope_config(keys, config.max_positions);
  config.max_positions = stretched_positions(config.rope, config.max_positions);
  config.tie_word_embeddings = keys.flag("tie_word_embeddings");
  read_biases(keys, config);
  config.sliding_windows = read_sliding_windows(keys, config);
  config.dtype = read_dtype(keys);
  config.eos_token_ids = read_eos(keys, config.vocab_size).value_or(std::vector<std::int32_t>{});

  // As transformers does: what generation_config.json says about ending replaces what config.json says.
  const std::filesystem::path generation_path = directory / "generation_config.json";
  if (std::filesystem::exists(generation_path)) {
    const json generation = read_object(generation_path);
    if (auto ids = read_eos(ConfigKeys(generation, generation_path.string()), config.vocab_size)) {
      config.eos_token_ids = std::move(*ids);
    }
  }
  return config;
}

}  // namespace evictlab::runtime
