#include "runtime/layer_weights.hpp"

namespace evictlab::runtime {
namespace {

/// One of the projections a packed one interleaves: of each kv head's `stride` rows, `block` from row `first` on.
Linear unpacked(const Linear& packed, Index first, Index block, Index stride) {
  const Index count = packed.weight.rows() / stride;
  Linear part{.weight = packed.weight.interleaved(first, block, stride, count), .bias = {}};
  for (Index group = 0; !packed.bias.empty() && group < count; ++group) {
    const auto begin = packed.bias.begin() + group * stride + first;
    part.bias.insert(part.bias.end(), begin, begin + block);
  }
  return part;
}

}  // namespace

LayerWeights WeightLoader::layer(Index index) const {
  const Architecture& names = *config_.architecture;
  const Index hidden = config_.hidden_size;
  const Index inner = config_.intermediate_size;
  const Index query = config_.query_heads * config_.head_dim;
  const bool mlp_bias = config_.mlp_bias;
  const auto name = [index](std::string_view pattern) { return module_name(pattern, index); };
  LayerWeights layer;
  layer.attention_norm = norm(name(names.attention_norm), hidden);
  read_query_key_value(index, layer);
  layer.attention_output = linear(name(names.attention_output), query, hidden, config_.attention_output_bias);
  layer.mlp_norm = norm(name(names.mlp_norm), hidden);
  layer.gate = linear(name(names.gate), hidden, inner, mlp_bias);
  layer.up = linear(name(names.up), hidden, inner, mlp_bias);
  layer.down = linear(name(names.down), inner, hidden, mlp_bias);
  return layer;
}

void WeightLoader::read_query_key_value(Index index, LayerWeights& layer) const {
  const Architecture& names = *config_.architecture;
  const Index hidden = config_.hidden_size;
  const Index d = config_.head_dim;
  const bool bias = config_.query_key_value_bias;
  const auto name = [index](std::string_view pattern) { return module_name(pattern, index); };
  if (!names.packed_query_key_value.empty()) {
    const Index queries = config_.group_size() * d;  // rows of one kv head's query heads
    const Index stride = queries + 2 * d;
    const Linear packed = linear(name(names.packed_query_key_value), hidden, config_.kv_heads * stride, bias);
    layer.query = unpacked(packed, 0, queries, stride);
    layer.key = unpacked(packed, queries, d, stride);
    layer.value = unpacked(packed, queries + d, d, stride);
  } else {
    layer.query = linear(name(names.query), hidden, config_.query_heads * d, bias);
    layer.key = linear(name(names.key), hidden, config_.kv_heads * d, bias);
    layer.value = linear(name(names.value), hidden, config_.kv_heads * d, bias);
  }
  if (!names.query_norm.empty()) layer.query_norm = norm(name(names.query_norm), d);
  if (!names.key_norm.empty()) layer.key_norm = norm(name(names.key_norm), d);
}

WeightMatrix WeightLoader::matrix(std::string_view module, Index rows, Index columns) const {
  return checkpoint_.matrix(std::string(module) + ".weight", rows, columns);
}

std::vector<float> WeightLoader::norm(std::string_view module, Index size) const {
  return checkpoint_.vector(std::string(module) + ".weight", size);
}

Linear WeightLoader::linear(const std::string& module, Index in, Index out, bool bias) const {
  return {.weight = matrix(module, out, in),
          .bias = bias ? checkpoint_.vector(module + ".bias", out) : std::vector<float>{}};
}

}  // namespace evictlab::runtime
