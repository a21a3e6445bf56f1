#include "runtime/layer_weights.hpp"

namespace evictlab::runtime {
namespace {

/// The outputs of a projection that are the rows of `order`.
Linear reordered(const Linear& whole, const RowOrder& order) {
  Linear part{.weight = whole.weight.reordered(order), .bias = {}};
  for (Index row = 0; !whole.bias.empty() && row < order.rows(); ++row) {
    part.bias.push_back(whole.bias[static_cast<std::size_t>(order.stored_row(row))]);
  }
  return part;
}

/// One of the projections a packed one interleaves: of each kv head's `stride` rows, `block` from row `first` on.
Linear unpacked(const Linear& packed, Index first, Index block, Index stride) {
  return reordered(packed, interleaved_rows(first, block, stride, packed.weight.rows() / stride));
}

}  // namespace

LayerWeights WeightLoader::layer(Index index) const {
  const ModuleNames& names = config_.modules;
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
  const ModuleNames& names = config_.modules;
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
    if (config_.adjacent_pairs) {
      layer.query = reordered(layer.query, rows_of_adjacent_pairs(config_.query_heads, d));
      layer.key = reordered(layer.key, rows_of_adjacent_pairs(config_.kv_heads, d));
    }
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
