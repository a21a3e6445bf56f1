#include "runtime/architecture.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "core/message.hpp"

namespace evictlab::runtime {
namespace {

constexpr ModuleNames kLlamaModules = {
    .embedding = "model.embed_tokens",
    .final_norm = "model.norm",
    .output_head = "lm_head",
    .attention_norm = "model.layers.{}.input_layernorm",
    .query = "model.layers.{}.self_attn.q_proj",
    .key = "model.layers.{}.self_attn.k_proj",
    .value = "model.layers.{}.self_attn.v_proj",
    .packed_query_key_value = "",
    .query_norm = "",
    .key_norm = "",
    .attention_output = "model.layers.{}.self_attn.o_proj",
    .mlp_norm = "model.layers.{}.post_attention_layernorm",
    .gate = "model.layers.{}.mlp.gate_proj",
    .up = "model.layers.{}.mlp.up_proj",
    .down = "model.layers.{}.mlp.down_proj",
    .frequency_divisors = "",
    .ignored_suffix = ".rotary_emb.inv_freq",
};

constexpr ModuleNames kGgufModules = {
    .embedding = "token_embd",
    .final_norm = "output_norm",
    .output_head = "output",
    .attention_norm = "blk.{}.attn_norm",
    .query = "blk.{}.attn_q",
    .key = "blk.{}.attn_k",
    .value = "blk.{}.attn_v",
    .packed_query_key_value = "",
    .query_norm = "blk.{}.attn_q_norm",
    .key_norm = "blk.{}.attn_k_norm",
    .attention_output = "blk.{}.attn_output",
    .mlp_norm = "blk.{}.ffn_norm",
    .gate = "blk.{}.ffn_gate",
    .up = "blk.{}.ffn_up",
    .down = "blk.{}.ffn_down",
    .frequency_divisors = "rope_freqs",
    .ignored_suffix = ".attn_rot_embd.weight",
};

constexpr Architecture kLlama = {
    .name = "LlamaForCausalLM",
    .modules = kLlamaModules,
    .gguf_name = "llama",
    .gguf_adjacent_pairs = true,
    .attention_bias_key = "attention_bias",
    .mlp_bias_key = "mlp_bias",
};

constexpr Architecture mistral() {
  Architecture row = kLlama;
  row.name = "MistralForCausalLM";
  row.gguf_name = "mistral";  // files of Mistral models mostly say "llama"
  row.attention_bias_key = "";
  row.mlp_bias_key = "";
  row.sliding_window = SlidingWindowRule::kEveryLayer;
  return row;
}

constexpr Architecture qwen2() {
  Architecture row = kLlama;
  row.name = "Qwen2ForCausalLM";
  row.gguf_name = "qwen2";
  row.gguf_adjacent_pairs = false;
  row.attention_bias_key = "";
  row.always_query_key_value_bias = true;
  row.mlp_bias_key = "";
  row.sliding_window = SlidingWindowRule::kChosenLayers;
  return row;
}

constexpr Architecture qwen3() {
  Architecture row = kLlama;
  row.name = "Qwen3ForCausalLM";
  row.gguf_name = "qwen3";
  row.gguf_adjacent_pairs = false;
  row.modules.query_norm = "model.layers.{}.self_attn.q_norm";
  row.modules.key_norm = "model.layers.{}.self_attn.k_norm";
  row.mlp_bias_key = "";
  row.sliding_window = SlidingWindowRule::kChosenLayers;
  row.default_head_dim = 128;
  return row;
}

constexpr ModuleNames kInternLm2Modules = {
    .embedding = "model.tok_embeddings",
    .final_norm = "model.norm",
    .output_head = "output",
    .attention_norm = "model.layers.{}.attention_norm",
    .query = "",
    .key = "",
    .value = "",
    .packed_query_key_value = "model.layers.{}.attention.wqkv",
    .query_norm = "",
    .key_norm = "",
    .attention_output = "model.layers.{}.attention.wo",
    .mlp_norm = "model.layers.{}.ffn_norm",
    .gate = "model.layers.{}.feed_forward.w1",
    .up = "model.layers.{}.feed_forward.w3",
    .down = "model.layers.{}.feed_forward.w2",
    .frequency_divisors = "",
    .ignored_suffix = ".rotary_emb.inv_freq",
};

constexpr Architecture kInternLm2 = {
    .name = "InternLM2ForCausalLM",
    .modules = kInternLm2Modules,
    .gguf_name = "internlm2",
    .gguf_adjacent_pairs = true,
    .attention_bias_key = "bias",
    .mlp_bias_key = "",
};

constexpr Architecture kArchitectures[] = {kLlama, mistral(), qwen2(), qwen3(), kInternLm2};

/// The row that has `wanted` in that column.
template <typename Value>
const Architecture& find_row(const Value& value, std::string_view wanted, std::string_view Architecture::*column) {
  const auto* const found = std::ranges::find(kArchitectures, wanted, column);
  if (found != std::end(kArchitectures)) return *found;
  std::vector<std::string_view> known;
  for (const Architecture& architecture : kArchitectures) known.push_back(architecture.*column);
  value.fail("{} is not supported; known: {}", core::quote(wanted), fmt::join(known, ", "));
}

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture& find_architecture(const core::JsonNode& name) {
  return find_row(name, name.string(), &Architecture::name);
}

const Architecture& find_gguf_architecture(const core::GgufValue& name) {
  return find_row(name, name.string(), &Architecture::gguf_name);
}

ModuleNames gguf_modules(const Architecture& architecture) {
  ModuleNames modules = kGgufModules;
  if (architecture.modules.query_norm.empty()) modules.query_norm = "";
  if (architecture.modules.key_norm.empty()) modules.key_norm = "";
  return modules;
}

std::string module_name(std::string_view pattern, Eigen::Index layer) {
  return fmt::format(fmt::runtime(pattern), layer);
}

}  // namespace evictlab::runtime
