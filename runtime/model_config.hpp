#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/gguf.hpp"
#include "runtime/architecture.hpp"
#include "runtime/rope_config.hpp"

namespace evictlab::runtime {

using trace::Index;

/// What config.json and generation_config.json, or a GGUF file's metadata, say.
struct ModelConfig {
  const Architecture* architecture = nullptr;
  ModuleNames modules;          // in this checkpoint
  bool adjacent_pairs = false;  // Architecture::gguf_adjacent_pairs, of this checkpoint
  Index layers = 0;             // L
  Index hidden_size = 0;
  Index query_heads = 0;  // H, a multiple of G
  Index kv_heads = 0;     // G
  Index head_dim = 0;     // d, even; H*d need not be hidden_size
  Index intermediate_size = 0;
  Index vocab_size = 0;
  Index max_positions = 0;  // with what a scaled rotary encoding adds
  double rms_norm_eps = 1e-6;
  RopeConfig rope;
  bool tie_word_embeddings = false;
  bool query_key_value_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;                    // on gate, up and down
  std::vector<std::int32_t> eos_token_ids;  // generation_config.json's, else config.json's; may be empty
  std::vector<Index> sliding_windows;       // [L]; 0 = sees every position
  std::string dtype;                        // "float32", "float16", "bfloat16", or empty when not said

  Index group_size() const { return query_heads / kv_heads; }
  /// What query . key is multiplied by before the softmax: 1 / sqrt(d).
  double attention_scale() const;
};

/// Reads a model directory's config.json and, where there is one, generation_config.json, or a GGUF file's metadata.
/// Throws core::InputError in one line naming file and key: a missing key, a wrong type, a size out of range, heads
/// that do not divide, an unsupported architecture, activation, rotary type or quantization.
ModelConfig read_model_config(const std::filesystem::path& model);

/// What a GGUF file's metadata and list of tensors say. Throws core::InputError as well.
ModelConfig read_gguf_config(const core::GgufFile& file);

/// What the keys of a config.json say, without a generation_config.json.
ModelConfig parse_model_config(const core::JsonNode& keys);

}  // namespace evictlab::runtime
