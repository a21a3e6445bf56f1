#include "runtime/model_config.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/file.hpp"
#include "runtime/json.hpp"
#include "runtime/model_error.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;

// Far beyond any model, small enough that no product of two sizes overflows.
constexpr std::int64_t kMostLayers = 10'000;
constexpr std::int64_t kLargestSize = 1 << 24;
constexpr std::int64_t kMostPositions = 1 << 30;

/// Typed access to a JSON object's keys; null counts as absent. Errors name file and key.
class Keys {
 public:
  Keys(const json& object, std::string where) : object_(object), where_(std::move(where)) {}

  const std::string& where() const { return where_; }

  const json* find(const char* key) const {
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<Index> optional_size(const char* key, std::int64_t most) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_integer()) throw wrong_type(key, "a whole number", *value);
    const auto number = value->is_number_unsigned() ? value->get<std::uint64_t>() : 0U;
    if (number < 1 || number > static_cast<std::uint64_t>(most)) {
      throw ModelError("{}: {} is {}, expected 1..{}", where_, key, value->dump(), most);
    }
    return static_cast<Index>(number);
  }

  Index size(const char* key, std::int64_t most) const {
    const auto value = optional_size(key, most);
    if (!value) throw ModelError("{}: {} is missing", where_, key);
    return *value;
  }

  std::optional<double> optional_positive(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) throw wrong_type(key, "a number", *value);
    const auto number = value->get<double>();
    if (!(number > 0) || !std::isfinite(number)) {
      throw ModelError("{}: {} is {}, expected a number above 0", where_, key, value->dump());
    }
    return number;
  }

  double positive(const char* key) const {
    const auto value = optional_positive(key);
    if (!value) throw ModelError("{}: {} is missing", where_, key);
    return *value;
  }

  bool flag(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return false;
    if (!value->is_boolean()) throw wrong_type(key, "true or false", *value);
    return value->get<bool>();
  }

  std::optional<std::string> text(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_string()) throw wrong_type(key, "a string", *value);
    return value->get<std::string>();
  }

  std::optional<Keys> object(const char* key) const {
    const json* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (!value->is_object()) throw wrong_type(key, "an object", *value);
    return Keys(*value, fmt::format("{}: {}", where_, key));
  }

  ModelError wrong_type(const char* key, const char* expected, const json& value) const {
    return ModelError("{}: {} is a JSON {}, expected {}", where_, key, value.type_name(), expected);
  }

 private:
  const json& object_;
  std::string where_;
};

const Architecture& read_architecture(const Keys& keys) {
  const json* names = keys.find("architectures");
  if (names == nullptr) throw ModelError("{}: architectures is missing", keys.where());
  if (!names->is_array() || names->size() != 1 || !names->front().is_string()) {
    throw ModelError("{}: architectures is {}, expected a list of one name", keys.where(), names->dump());
  }
  return find_architecture(names->front().get<std::string>(), keys.where());
}

void read_scaling(const Keys& keys, RopeConfig& rope) {
  // Checkpoints from before transformers 4.45 say "type".
  const std::string type = keys.text("rope_type").value_or(keys.text("type").value_or("default"));
  if (type == "default") return;
  if (type != "llama3") {
    throw ModelError("{}: rope type '{}' is not supported; known: default, llama3", keys.where(), type);
  }
  rope.type = RopeConfig::Type::kLlama3;
  rope.factor = keys.positive("factor");
  rope.low_freq_factor = keys.positive("low_freq_factor");
  rope.high_freq_factor = keys.positive("high_freq_factor");
  rope.original_positions = keys.size("original_max_position_embeddings", kMostPositions);
  if (rope.low_freq_factor >= rope.high_freq_factor) {
    throw ModelError("{}: low_freq_factor is {}, expected less than high_freq_factor {}", keys.where(),
                     rope.low_freq_factor, rope.high_freq_factor);
  }
}

void refuse_partial_rotation(const Keys& keys) {
  const double share = keys.optional_positive("partial_rotary_factor").value_or(1.0);
  if (share != 1.0) {
    throw ModelError("{}: partial_rotary_factor {} is not supported; expected 1", keys.where(), share);
  }
}

RopeConfig read_rope(const Keys& keys) {
  RopeConfig rope;
  rope.theta = keys.optional_positive("rope_theta").value_or(rope.theta);
  refuse_partial_rotation(keys);
  if (const auto scaling = keys.object("rope_scaling")) read_scaling(*scaling, rope);
  if (const auto parameters = keys.object("rope_parameters")) {
    rope.theta = parameters->optional_positive("rope_theta").value_or(rope.theta);
    refuse_partial_rotation(*parameters);
    read_scaling(*parameters, rope);
  }
  return rope;
}

std::optional<std::vector<std::int32_t>> read_eos(const Keys& keys, Index vocab_size) {
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

std::string read_dtype(const Keys& keys) {
  const std::string dtype = keys.text("dtype").value_or(keys.text("torch_dtype").value_or(""));
  const std::string_view known[] = {"", "float32", "float16", "bfloat16"};
  if (std::ranges::find(known, dtype) == std::end(known)) {
    throw ModelError("{}: dtype '{}' is not supported; known: float32, float16, bfloat16", keys.where(), dtype);
  }
  return dtype;
}

/// hidden_size / num_attention_heads unless said otherwise.
Index read_head_dim(const Keys& keys, const ModelConfig& config) {
  const auto said = keys.optional_size("head_dim", kLargestSize);
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

void refuse_unsupported(const Keys& keys) {
  const std::string activation = keys.text("hidden_act").value_or("silu");
  if (activation != "silu") {
    throw ModelError("{}: hidden_act '{}' is not supported; known: silu", keys.where(), activation);
  }
  if (keys.flag("use_sliding_window")) {
    throw ModelError("{}: use_sliding_window is not supported; expected false", keys.where());
  }
  if (const auto quantization = keys.object("quantization_config")) {
    throw ModelError("{}: quantization_config ('{}') is not supported; expected F32, F16 or BF16 weights", keys.where(),
                     quantization->text("quant_method").value_or("?"));
  }
}

}  // namespace

std::string describe(const RopeConfig& rope) {
  if (rope.type == RopeConfig::Type::kDefault) return fmt::format("rope(theta={})", rope.theta);
  return fmt::format(
      "rope(theta={},type=llama3,factor={},low_freq_factor={},high_freq_factor={},original_positions={})", rope.theta,
      rope.factor, rope.low_freq_factor, rope.high_freq_factor, rope.original_positions);
}

double ModelConfig::attention_scale() const { return 1.0 / std::sqrt(static_cast<double>(head_dim)); }

ModelConfig read_model_config(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "config.json";
  const json object = read_object(path);
  const Keys keys(object, path.string());

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
  config.rope = read_rope(keys);
  config.tie_word_embeddings = keys.flag("tie_word_embeddings");
  if (config.architecture->attention_bias == AttentionBias::kQueryKeyValue) {
    config.query_key_value_bias = true;
  } else {
    config.query_key_value_bias = config.attention_output_bias = keys.flag("attention_bias");
  }
  config.mlp_bias = keys.flag("mlp_bias");
  config.sliding_windows.assign(static_cast<std::size_t>(config.layers), 0);
  config.dtype = read_dtype(keys);
  config.eos_token_ids = read_eos(keys, config.vocab_size).value_or(std::vector<std::int32_t>{});

  // As transformers does: what generation_config.json says about ending replaces what config.json says.
  const std::filesystem::path generation_path = directory / "generation_config.json";
  if (std::filesystem::exists(generation_path)) {
    const json generation = read_object(generation_path);
    if (auto ids = read_eos(Keys(generation, generation_path.string()), config.vocab_size)) {
      config.eos_token_ids = std::move(*ids);
    }
  }
  return config;
}

}  // namespace evictlab::runtime
