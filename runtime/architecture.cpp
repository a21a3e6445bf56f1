#include "runtime/architecture.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "core/message.hpp"

namespace evictlab::runtime {
namespace {

constexpr Architecture kLlama = {
    .name = "LlamaForCausalLM",
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
    .ignored_suffix = ".rotary_emb.inv_freq",
    .attention_bias_key = "attention_bias",
    .mlp_bias_key = "mlp_bias",
};

constexpr Architecture mistral() {
  Architecture row = kLlama;
  row.name = "MistralForCausalLM";
  row.attention_bias_key = "";
  row.mlp_bias_key = "";
  row.sliding_window = SlidingWindowRule::kEveryLayer;
  return row;
}

constexpr Architecture qwen2() {
  Architecture row = kLlama;
  row.name = "Qwen2ForCausalLM";
  row.attention_bias_key = "";
  row.always_query_key_value_bias = true;
  row.mlp_bias_key = "";
  row.sliding_window = SlidingWindowRule::kChosenLayers;
  return row;
}

constexpr Architecture qwen3() {
  Architecture row = kLlama;
  row.name = "Qwen3ForCausalLM";
  row.query_norm = "model.layers.{}.self_attn.q_norm";
  row.key_norm = "model.layers.{}.self_attn.k_norm";
  row.mlp_bias_key = "";
  row.sliding_window = SlidingWindowRule::kChosenLayers;
  row.default_head_dim = 128;
  return row;
}

constexpr Architecture kInternLm2 = {
    .name = "InternLM2ForCausalLM",
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
    .ignored_suffix = ".rotary_emb.inv_freq",
    .attention_bias_key = "bias",
    .mlp_bias_key = "",
};

constexpr Architecture kArchitectures[] = {kLlama, mistral(), qwen2(), qwen3(), kInternLm2};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture& find_architecture(const core::JsonNode& name) {
  const auto* const found = std::ranges::find(kArchitectures, name.string(), &Architecture::name);
  if (found != std::end(kArchitectures)) return *found;
  std::vector<std::string_view> known;
  for (const Architecture& architecture : kArchitectures) known.push_back(architecture.name);
  name.fail("{} is not supported; known: {}", core::quote(name.string()), fmt::join(known, ", "));
}

std::string module_name(std::string_view pattern, Eigen::Index layer) {
  return fmt::format(fmt::runtime(pattern), layer);
}

}  // namespace evictlab::runtime
