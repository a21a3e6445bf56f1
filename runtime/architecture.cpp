#include "runtime/architecture.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "runtime/model_error.hpp"

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
    .attention_output = "model.layers.{}.self_attn.o_proj",
    .mlp_norm = "model.layers.{}.post_attention_layernorm",
    .gate = "model.layers.{}.mlp.gate_proj",
    .up = "model.layers.{}.mlp.up_proj",
    .down = "model.layers.{}.mlp.down_proj",
    .ignored_suffix = ".rotary_emb.inv_freq",
};

constexpr Architecture qwen2() {
  Architecture row = kLlama;
  row.name = "Qwen2ForCausalLM";
  row.attention_bias = AttentionBias::kQueryKeyValue;
  return row;
}

constexpr Architecture kArchitectures[] = {kLlama, qwen2()};

}  // namespace

std::span<const Architecture> architectures() { return kArchitectures; }

const Architecture& find_architecture(std::string_view name, std::string_view where) {
  const auto* const found = std::ranges::find(kArchitectures, name, &Architecture::name);
  if (found != std::end(kArchitectures)) return *found;
  std::vector<std::string_view> known;
  for (const Architecture& architecture : kArchitectures) known.push_back(architecture.name);
  throw ModelError("{}: architecture '{}' is not supported; known: {}", where, name, fmt::join(known, ", "));
}

std::string module_name(std::string_view pattern, Eigen::Index layer) {
  return fmt::format(fmt::runtime(pattern), layer);
}

}  // namespace evictlab::runtime
