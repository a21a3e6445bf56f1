#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/safetensors.hpp"
#include "core/storage_type.hpp"
#include "gguf_files.hpp"
#include "model_files.hpp"

// Checkpoints in Hugging Face layout as GGUF files: what llama.cpp's converter does with them.

namespace evictlab::testing {

/// One tensor: rows of bytes.
struct RowsOfBytes {
  std::uint32_t type = 0;
  std::uint64_t columns = 0;  // 0 = a vector
  std::vector<std::string> rows;

  std::string bytes() const {
    std::string all;
    for (const std::string& row : rows) all += row;
    return all;
  }
};

using Tensors = std::map<std::string, RowsOfBytes>;

inline Tensors read_tensors(const std::filesystem::path& directory) {
  Tensors tensors;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("model") || !name.ends_with(".safetensors")) continue;
    const core::SafetensorsFile file(entry.path());
    for (const core::StoredTensor& tensor : file.tensors()) {
      RowsOfBytes rows{.type = core::storage_layout(*core::find_storage_type(tensor.dtype)).gguf_type,
                       .columns = tensor.shape.size() == 2 ? tensor.shape[1] : 0,
                       .rows = {}};
      const std::size_t size = tensor.bytes.size() / tensor.shape[0];
      for (std::size_t row = 0; row < tensor.shape[0]; ++row) {
        rows.rows.emplace_back(reinterpret_cast<const char*>(tensor.bytes.data()) + row * size, size);
      }
      tensors[tensor.name] = rows;
    }
  }
  return tensors;
}

/// The rows of each head as pairs (0, d/2), (1, d/2 + 1), ...
inline void pair_up(RowsOfBytes& tensor, std::size_t heads) {
  const std::vector<std::string> rows = tensor.rows;
  const std::size_t d = rows.size() / heads;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t head = i / d;
    const std::size_t place = i % d;
    tensor.rows[i] = rows[head * d + place / 2 + place % 2 * (d / 2)];
  }
}

/// InternLM2's packed matrix as three.
inline void unpack_internlm2(Tensors& tensors, std::size_t kv_heads, std::size_t group, std::size_t d) {
  Tensors unpacked;
  for (auto& [name, tensor] : tensors) {
    const std::size_t at = name.find("attention.wqkv");
    if (at == std::string::npos) {
      unpacked[name] = tensor;
      continue;
    }
    const std::string end = name.substr(at + std::string_view("attention.wqkv").size());
    for (std::size_t i = 0; i < tensor.rows.size(); ++i) {
      const std::size_t head = i / d % (group + 2);
      const std::string part = head < group ? "q" : head == group ? "k" : "v";
      RowsOfBytes& target = unpacked[name.substr(0, at) + "self_attn." + part + "_proj" + end];
      target.type = tensor.type;
      target.columns = tensor.columns;
      target.rows.push_back(tensor.rows[i]);
    }
    EXPECT_EQ(tensor.rows.size(), kv_heads * (group + 2) * d);
  }
  tensors = std::move(unpacked);
}

inline std::string converted_name(std::string name) {
  const std::vector<std::pair<std::string, std::string>> modules = {{"model.layers.", "blk."},
                                                                    {"model.embed_tokens.", "token_embd."},
                                                                    {"model.tok_embeddings.", "token_embd."},
                                                                    {"model.norm.", "output_norm."},
                                                                    {"lm_head.", "output."},
                                                                    {"input_layernorm.", "attn_norm."},
                                                                    {"attention_norm.", "attn_norm."},
                                                                    {"self_attn.q_proj.", "attn_q."},
                                                                    {"self_attn.k_proj.", "attn_k."},
                                                                    {"self_attn.v_proj.", "attn_v."},
                                                                    {"self_attn.q_norm.", "attn_q_norm."},
                                                                    {"self_attn.k_norm.", "attn_k_norm."},
                                                                    {"self_attn.o_proj.", "attn_output."},
                                                                    {"attention.wo.", "attn_output."},
                                                                    {"post_attention_layernorm.", "ffn_norm."},
                                                                    {"mlp.gate_proj.", "ffn_gate."},
                                                                    {"mlp.up_proj.", "ffn_up."},
                                                                    {"mlp.down_proj.", "ffn_down."},
                                                                    {"feed_forward.w1.", "ffn_gate."},
                                                                    {"feed_forward.w3.", "ffn_up."},
                                                                    {"feed_forward.w2.", "ffn_down."}};
  for (const auto& [from, to] : modules) {
    const std::size_t at = name.find(from);
    if (at != std::string::npos) name.replace(at, from.size(), to);
  }
  return name;
}

/// The file, to be changed by a test.
inline GgufBuilder as_gguf(const std::filesystem::path& directory) {
  const nlohmann::json config = nlohmann::json::parse(read_file(directory / "config.json"));
  const auto number = [&](const char* key, std::uint32_t otherwise) {
    return config.contains(key) && !config[key].is_null() ? config[key].get<std::uint32_t>() : otherwise;
  };
  const std::string type = config["model_type"];
  const std::string architecture = type == "mistral" ? "llama" : type;  // as files of Mistral's models say
  const std::string prefix = architecture + ".";
  const std::uint32_t heads = number("num_attention_heads", 0);
  const std::uint32_t kv_heads = number("num_key_value_heads", heads);
  const std::uint32_t layers = number("num_hidden_layers", 0);
  const std::uint32_t d = number("head_dim", number("hidden_size", 0) / heads);

  GgufBuilder builder;
  builder.text("general.architecture", architecture);
  builder.u32(prefix + "block_count", layers).u32(prefix + "embedding_length", number("hidden_size", 0));
  builder.u32(prefix + "context_length", number("max_position_embeddings", 0));
  builder.u32(prefix + "feed_forward_length", number("intermediate_size", 0));
  builder.u32(prefix + "attention.head_count", heads).u32(prefix + "attention.head_count_kv", kv_heads);
  builder.u32(prefix + "attention.key_length", d).u32(prefix + "rope.dimension_count", d);
  builder.f32(prefix + "attention.layer_norm_rms_epsilon", config["rms_norm_eps"].get<float>());
  builder.u32("tokenizer.ggml.eos_token_id", number("eos_token_id", 0));

  nlohmann::json rope = config.value("rope_parameters", config.value("rope_scaling", nlohmann::json()));
  if (rope.is_null()) rope = nlohmann::json::object();
  const double theta =
      config.contains("rope_theta") ? config["rope_theta"].get<double>() : rope["rope_theta"].get<double>();
  builder.f32(prefix + "rope.freq_base", static_cast<float>(theta));
  const std::string scaling = rope.value("rope_type", rope.value("type", "default"));
  if (scaling != "default") {
    builder.text(prefix + "rope.scaling.type", scaling)
        .f32(prefix + "rope.scaling.factor", rope["factor"].get<float>());
    if (rope.contains("original_max_position_embeddings")) {
      builder.u32(prefix + "rope.scaling.original_context_length", rope["original_max_position_embeddings"]);
    }
    if (rope.contains("beta_fast")) builder.f32(prefix + "rope.scaling.yarn_beta_fast", rope["beta_fast"]);
  }

  Tensors tensors = read_tensors(directory);
  if (type == "internlm2") unpack_internlm2(tensors, kv_heads, heads / kv_heads, d);
  for (auto& [name, tensor] : tensors) {
    const bool paired = architecture == "llama" || architecture == "internlm2";
    if (paired && name.find(".q_proj.") != std::string::npos) pair_up(tensor, heads);
    if (paired && name.find(".k_proj.") != std::string::npos) pair_up(tensor, kv_heads);
    std::vector<std::uint64_t> sizes = {tensor.rows.size()};
    if (tensor.columns > 0) sizes.insert(sizes.begin(), tensor.columns);
    builder.tensor(converted_name(name), sizes, tensor.type, tensor.bytes());
  }
  return builder;
}

}  // namespace evictlab::testing
