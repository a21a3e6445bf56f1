#pragma once

#include <cmath>
#include <filesystem>
#include <string>

#include "core/random.hpp"
#include "model_files.hpp"

// A model of any shape with random weights, for what must hold whatever a model has learnt.

namespace evictlab::testing {

struct RandomModel {
  int layers = 9;
  int query_heads = 4;
  int kv_heads = 2;
  int head_dim = 8;
  int hidden = 32;
  int vocabulary = 64;
  int positions = 1024;
};

/// Makes `directory` and writes config.json and model.safetensors (float32) into it; returns it. Weights are even in
/// [-a, a] with a growing where attention is to be peaked.
inline std::filesystem::path write_random_model(const std::filesystem::path& directory, const RandomModel& model = {}) {
  std::filesystem::create_directories(directory);
  const int inner = 2 * model.hidden;
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"num_hidden_layers", model.layers},
                                 {"hidden_size", model.hidden},
                                 {"num_attention_heads", model.query_heads},
                                 {"num_key_value_heads", model.kv_heads},
                                 {"head_dim", model.head_dim},
                                 {"intermediate_size", inner},
                                 {"vocab_size", model.vocabulary},
                                 {"max_position_embeddings", model.positions},
                                 {"rope_theta", 10000.0},
                                 {"rms_norm_eps", 1e-5},
                                 {"hidden_act", "silu"},
                                 {"tie_word_embeddings", false},
                                 {"eos_token_id", 2},
                                 {"torch_dtype", "float32"}};
  write_file(directory / "config.json", config.dump());

  core::SplitMix64 random(7);
  nlohmann::ordered_json header;
  std::string data;
  const auto add = [&](const std::string& name, int rows, int columns, double scale) {
    const std::size_t begin = data.size();
    const int count = rows * std::max(columns, 1);
    for (int i = 0; i < count; ++i) {
      const auto value = static_cast<float>(columns == 0 ? 1.0 : scale * (2.0 * random.uniform() - 1.0));
      data.append(reinterpret_cast<const char*>(&value), sizeof(value));
    }
    nlohmann::json shape = nlohmann::json::array({rows});
    if (columns > 0) shape.push_back(columns);
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  };
  const double even = std::sqrt(3.0 / model.hidden);
  add("model.embed_tokens.weight", model.vocabulary, model.hidden, 1.0);
  for (int layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const int query = model.query_heads * model.head_dim;
    const int key = model.kv_heads * model.head_dim;
    add(prefix + "input_layernorm.weight", model.hidden, 0, 1.0);
    add(prefix + "self_attn.q_proj.weight", query, model.hidden, 2.0 * even);
    add(prefix + "self_attn.k_proj.weight", key, model.hidden, (1.0 + 0.2 * layer) * even);
    add(prefix + "self_attn.v_proj.weight", key, model.hidden, even);
    add(prefix + "self_attn.o_proj.weight", model.hidden, query, even);
    add(prefix + "post_attention_layernorm.weight", model.hidden, 0, 1.0);
    add(prefix + "mlp.gate_proj.weight", inner, model.hidden, even);
    add(prefix + "mlp.up_proj.weight", inner, model.hidden, even);
    add(prefix + "mlp.down_proj.weight", model.hidden, inner, even);
  }
  add("model.norm.weight", model.hidden, 0, 1.0);
  add("lm_head.weight", model.vocabulary, model.hidden, even);
  write_file(directory / "model.safetensors", safetensors(header.dump(), data));
  return directory;
}

/// Token ids that repeat now and then, as text does; the same for the same seed.
inline std::vector<std::int32_t> random_tokens(int count, int vocabulary, std::uint64_t seed = 3) {
  core::SplitMix64 random(seed);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i) {
    const bool repeats = i > 8 && random.uniform() < 0.3;
    const auto any = static_cast<std::int32_t>(3 + random.uniform() * (vocabulary - 3));
    const auto back = static_cast<std::size_t>(random.uniform() * 8);
    tokens.push_back(repeats ? tokens[tokens.size() - 1 - back] : any);
  }
  return tokens;
}

}  // namespace evictlab::testing
