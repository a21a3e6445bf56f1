// A GGUF file's metadata as a model's configuration.

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.hpp"
#include "core/message.hpp"
#include "core/safetensors.hpp"
#include "runtime/model_config.hpp"
#include "runtime/model_error.hpp"
#include "runtime/model_limits.hpp"

namespace evictlab::runtime {
namespace {

/// The keys of a file's architecture: "llama.block_count".
class ArchitectureKeys {
 public:
  ArchitectureKeys(const core::GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  std::string name(std::string_view key) const { return prefix_ + std::string(key); }
  const core::GgufValue* find(std::string_view key) const { return metadata_.find(name(key)); }
  const core::GgufValue& at(std::string_view key) const { return metadata_.at(name(key)); }
  std::int64_t size(std::string_view key, std::int64_t most = kLargestSize) const { return at(key).integer(1, most); }
  std::optional<std::int64_t> find_size(std::string_view key, std::int64_t most = kLargestSize) const {
    return metadata_.find_integer(name(key), 1, most);
  }
  std::optional<double> find_positive(std::string_view key) const { return metadata_.find_positive(name(key)); }

 private:
  const core::GgufMetadata& metadata_;
  std::string prefix_;
};

/// Keys that change what a model computes in ways that the forward pass does not have; 0 switches them off.
constexpr std::string_view kUnsupported[] = {"expert_count",
                                             "attention.clamp_kqv",
                                             "attention.max_alibi_bias",
                                             "attention.scale",
                                             "attention.output_scale",
                                             "attention.temperature_scale",
                                             "attention.temperature_length",
                                             "attn_logit_softcapping",
                                             "final_logit_softcapping",
                                             "logit_scale",
                                             "embedding_scale",
                                             "residual_scale",
                                             "nextn_predict_layers",
                                             "rope.scaling.alpha",
                                             "rope.scaling.yarn_log_multiplier",
                                             "rope.scaling.yarn_ext_factor",
                                             "rope.scaling.yarn_attn_factor"};

void refuse_unsupported(const ArchitectureKeys& keys) {
  for (const std::string_view key : kUnsupported) {
    const core::GgufValue* value = keys.find(key);
    if (value != nullptr && value->number() != 0.0)
      value->fail("{} is not supported; expected 0 or no such key", value->number());
  }
  const core::GgufValue* causal = keys.find("attention.causal");
  if (causal != nullptr && !causal->boolean()) causal->fail("is false; only causal attention is supported");
}

/// attention.key_length, which values and rotations must share.
std::optional<std::int64_t> read_head_dim(const ArchitectureKeys& keys) {
  std::optional<std::int64_t> head_dim;
  for (const std::string_view key : {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
    const std::optional<std::int64_t> size = keys.find_size(key);
    if (!size) continue;
    if (head_dim && *size != *head_dim) keys.at(key).fail("is {}, but the heads have {} elements", *size, *head_dim);
    if (*size % 2 != 0) keys.at(key).fail("is {}, expected an even number", *size);
    head_dim = size;
  }
  return head_dim;
}

/// attention.head_count_kv, which divides attention.head_count.
std::optional<std::int64_t> read_kv_heads(const ArchitectureKeys& keys, std::int64_t heads) {
  const std::optional<std::int64_t> kv_heads = keys.find_size("attention.head_count_kv");
  if (kv_heads && heads % *kv_heads != 0) {
    keys.at("attention.head_count_kv").fail("is {}, but the {} query heads are no multiple of it", *kv_heads, heads);
  }
  return kv_heads;
}

/// The rotary keys in the notation of config.json. A type that is not given is "linear", a factor that is not given 1.
nlohmann::json read_rope(const ArchitectureKeys& keys) {
  nlohmann::json rope = {{"rope_theta", keys.find_positive("rope.freq_base").value_or(10000.0)}};
  const core::GgufValue* type = keys.find("rope.scaling.type");
  const std::string_view name = type == nullptr ? "linear" : type->string();
  const bool has_factor = keys.find("rope.scaling.factor") != nullptr;
  const core::GgufValue* factor = keys.find(has_factor ? "rope.scaling.factor" : "rope.scale_linear");
  const double times = factor == nullptr || factor->number() == 0.0 ? 1.0 : factor->positive();
  if (name == "none" || (name == "linear" && times == 1.0)) return rope;
  if (name != "linear" && name != "yarn") {
    type->fail("rope type {} is not supported; known: none, linear, yarn", core::quote(name));
  }
  rope["rope_type"] = name;
  rope["factor"] = times;
  if (name == "linear") return rope;
  if (const auto positions = keys.find_size("rope.scaling.original_context_length", trace::kMaxPositions)) {
    rope["original_max_position_embeddings"] = *positions;
  }
  if (const auto beta = keys.find_positive("rope.scaling.yarn_beta_fast")) rope["beta_fast"] = *beta;
  if (const auto beta = keys.find_positive("rope.scaling.yarn_beta_slow")) rope["beta_slow"] = *beta;
  if (const auto sharper = keys.find_positive("rope.scaling.attn_factor")) {
    rope["attention_factor"] = *sharper * (1.0 + 0.1 * std::log(std::max(times, 1.0)));
  }
  return rope;
}

std::int64_t read_vocabulary_size(const core::GgufFile& file, std::string_view embedding) {
  const core::GgufTensor* tensor = file.find_tensor(std::string(embedding) + ".weight");
  if (tensor == nullptr || tensor->shape.size() != 2) {
    file.metadata().fail("no tensor '{}.weight' of two dimensions: the file holds no language model", embedding);
  }
  const std::uint64_t rows = tensor->shape.front();
  if (rows < 1 || std::cmp_greater(rows, kLargestSize)) {
    file.metadata().fail("tensor '{}' has {} rows, expected 1 to {} tokens", tensor->name, rows, kLargestSize);
  }
  return static_cast<std::int64_t>(rows);
}

std::string_view dtype_of(core::StorageType type) {
  if (type == core::StorageType::kFloat32) return "float32";
  return type == core::StorageType::kBFloat16 ? "bfloat16" : "float16";
}

/// What ends a text: its end, a turn's and a message's.
std::vector<std::int64_t> read_ends(const core::GgufMetadata& metadata, std::int64_t vocab_size) {
  std::vector<std::int64_t> ids;
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"}) {
    const auto id = metadata.find_integer(key, 0, vocab_size - 1);
    if (id && std::ranges::find(ids, *id) == ids.end()) ids.push_back(*id);
  }
  return ids;
}

/// The metadata as the config.json that says the same, so that both are understood and checked in one place.
nlohmann::json as_config_json(const core::GgufFile& file, const Architecture& architecture,
                              const ArchitectureKeys& keys) {
  const std::int64_t vocab_size = read_vocabulary_size(file, gguf_modules(architecture).embedding);
  const core::GgufTensor& embedding = *file.find_tensor(std::string(gguf_modules(architecture).embedding) + ".weight");
  nlohmann::json config = {
      {"architectures", {architecture.name}},
      {"num_hidden_layers", keys.size("block_count", kMostLayers)},
      {"hidden_size", keys.size("embedding_length")},
      {"num_attention_heads", keys.size("attention.head_count")},
      {"intermediate_size", keys.size("feed_forward_length")},
      {"max_position_embeddings", keys.size("context_length", trace::kMaxPositions)},
      {"rms_norm_eps", keys.at("attention.layer_norm_rms_epsilon").positive()},
      {"vocab_size", vocab_size},
      {"rope_parameters", read_rope(keys)},
      {"sliding_window", nullptr},
      {"dtype", dtype_of(embedding.type)},
      {"eos_token_id", read_ends(file.metadata(), vocab_size)},
  };
  const std::int64_t heads = keys.size("attention.head_count");
  if (const auto kv_heads = read_kv_heads(keys, heads)) config["num_key_value_heads"] = *kv_heads;
  // An architecture's own default is not GGUF's, which is always hidden_size / num_attention_heads.
  const std::int64_t hidden = keys.size("embedding_length");
  if (const auto head_dim = read_head_dim(keys)) {
    config["head_dim"] = *head_dim;
  } else if (hidden % heads == 0) {
    config["head_dim"] = hidden / heads;
  } else {
    keys.at("embedding_length")
        .fail("is {}, no multiple of {} attention heads, and attention.key_length is missing", hidden, heads);
  }
  return config;
}

/// attention.sliding_window, in all layers or in those that sliding_window_pattern says: an array of bools, or a period
/// of which the last layer sees everything.
std::vector<Index> read_windows(const ArchitectureKeys& keys, std::size_t layers) {
  const core::GgufValue* size = keys.find("attention.sliding_window");
  const Index window = size == nullptr ? 0 : static_cast<Index>(size->integer(0, trace::kMaxPositions - 1));
  std::vector<Index> windows(layers, window);
  const core::GgufValue* pattern = keys.find("attention.sliding_window_pattern");
  if (window == 0 || pattern == nullptr) return windows;
  if (pattern->is_array()) {
    const std::vector<bool> slides = pattern->booleans();
    if (slides.size() != layers) pattern->fail("expected one for each of {} layers, got {}", layers, slides.size());
    for (std::size_t layer = 0; layer < layers; ++layer) windows[layer] = slides[layer] ? window : 0;
    return windows;
  }
  const auto period = static_cast<std::size_t>(pattern->integer(0, kMostLayers));
  for (std::size_t layer = 0; period > 0 && layer < layers; ++layer) {
    if (layer % period == period - 1) windows[layer] = 0;
  }
  return windows;
}

std::vector<float> read_divisors(const core::GgufFile& file, std::string_view module, Index head_dim) {
  const core::GgufTensor* tensor = file.find_tensor(std::string(module) + ".weight");
  if (tensor == nullptr) return {};
  const auto pairs = static_cast<std::uint64_t>(head_dim / 2);
  if (tensor->shape.size() != 1 || tensor->shape.front() != pairs) {
    file.metadata().fail("tensor '{}' has shape {}, expected [{}]", tensor->name, core::shape_text(tensor->shape),
                         pairs);
  }
  std::vector<float> divisors(pairs);
  core::expand(tensor->type, tensor->bytes, divisors);
  const auto is_sound = [](float divisor) { return std::isfinite(divisor) && divisor > 0.0F; };
  if (!std::ranges::all_of(divisors, is_sound)) {
    file.metadata().fail("tensor '{}' divides rotary frequencies; expected positive numbers", tensor->name);
  }
  return divisors;
}

}  // namespace

ModelConfig read_gguf_config(const core::GgufFile& file) {
  const core::GgufMetadata& metadata = file.metadata();
  const core::GgufValue& name = metadata.at("general.architecture");
  const Architecture& architecture = find_gguf_architecture(name);
  const ArchitectureKeys keys(metadata, name.string());
  refuse_unsupported(keys);
  const auto document = core::JsonDocument::parse<ModelError>(as_config_json(file, architecture, keys).dump(),
                                                              file.path().string() + ": metadata as config.json");
  ModelConfig config = parse_model_config(document.root());
  config.modules = gguf_modules(architecture);
  config.adjacent_pairs = architecture.gguf_adjacent_pairs;
  const auto has = [&](std::string_view module, std::string_view part) {
    return file.find_tensor(module_name(module, 0) + std::string(part)) != nullptr;
  };
  config.tie_word_embeddings = !has(config.modules.output_head, ".weight");
  config.query_key_value_bias = has(config.modules.query, ".bias");
  config.attention_output_bias = has(config.modules.attention_output, ".bias");
  config.mlp_bias = has(config.modules.gate, ".bias");
  config.sliding_windows = read_windows(keys, static_cast<std::size_t>(config.layers));
  config.rope.frequency_divisors = read_divisors(file, config.modules.frequency_divisors, config.head_dim);
  return config;
}

}  // namespace evictlab::runtime
