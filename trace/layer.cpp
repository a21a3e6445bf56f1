#include "trace/layer.hpp"

#include <algorithm>
#include <stdexcept>

namespace evictlab::trace {

std::string_view field_name(Field field) {
  switch (field) {
    case Field::kWindowAttention:
      return "window_attention";
    case Field::kAttentionMass:
      return "attention_mass";
    case Field::kFutureMass:
      return "future_mass";
    case Field::kOutputNorms:
      return "output_norms";
    case Field::kQueries:
      return "queries";
    case Field::kKeys:
      return "keys";
    case Field::kValues:
      return "values";
    case Field::kQueryMean:
      return "query_mean";
    case Field::kQueryCovariance:
      return "query_covariance";
  }
  throw std::invalid_argument("not a field");
}

Index LayerShape::first_seen(Index position) const {
  // In a sliding window, positions j with position - j < sliding_window.
  return sliding_window == 0 ? 0 : std::max<Index>(0, position - sliding_window + 1);
}

// The earliest future query is the one at position n.
Index LayerShape::first_visible() const { return first_seen(prompt_length); }

const Tensor& LayerData::operator[](Field field) const {
  switch (field) {
    case Field::kWindowAttention:
      return window_attention;
    case Field::kAttentionMass:
      return attention_mass;
    case Field::kFutureMass:
      return future_mass;
    case Field::kOutputNorms:
      return output_norms;
    case Field::kQueries:
      return queries;
    case Field::kKeys:
      return keys;
    case Field::kValues:
      return values;
    case Field::kQueryMean:
      return query_mean;
    case Field::kQueryCovariance:
      return query_covariance;
  }
  throw std::invalid_argument("not a field");
}

Tensor& LayerData::operator[](Field field) { return const_cast<Tensor&>(static_cast<const LayerData&>(*this)[field]); }

FieldShape field_shape(Field field, const LayerShape& shape) {
  const Index positions = shape.prompt_length + shape.future_length;
  switch (field) {
    case Field::kWindowAttention:
      return {shape.query_heads, shape.window, shape.prompt_length, false};
    case Field::kAttentionMass:
      return {shape.query_heads, 1, shape.prompt_length, true};
    case Field::kFutureMass:
    case Field::kOutputNorms:
      return {shape.query_heads, 1, positions, true};
    case Field::kQueries:
      return {shape.query_heads, shape.window + shape.future_length, shape.head_dim, false};
    case Field::kKeys:
    case Field::kValues:
      return {shape.kv_heads, positions, shape.head_dim, false};
    case Field::kQueryMean:
      return {shape.query_heads, 1, shape.head_dim, true};
    case Field::kQueryCovariance:
      return {shape.query_heads, shape.head_dim, shape.head_dim, false};
  }
  throw std::invalid_argument("not a field");
}

namespace {

// Parts of arrays that may be missing: a missing array's part is empty, not out of range.
TensorView rows_of(const Tensor& tensor, Index first, Index count) {
  return tensor.empty() ? TensorView() : tensor.view().row_range(first, count);
}

TensorView columns_of(const Tensor& tensor, Index first, Index count) {
  return tensor.empty() ? TensorView() : tensor.view().column_range(first, count);
}

TensorView all_of(const Tensor& tensor) { return tensor.empty() ? TensorView() : tensor.view(); }

}  // namespace

FutureView future_view(const LayerData& layer) {
  return {.mass = all_of(layer.future_mass),
          .output_norms = all_of(layer.output_norms),
          .queries = rows_of(layer.queries, layer.shape.window, layer.shape.future_length),
          .keys = all_of(layer.keys),
          .values = all_of(layer.values)};
}

LayerView layer_view(const LayerData& layer) {
  const Index prompt = layer.shape.prompt_length;
  return {.shape = layer.shape,
          .window_attention = all_of(layer.window_attention),
          .attention_mass = all_of(layer.attention_mass),
          .output_norms = columns_of(layer.output_norms, 0, prompt),
          .window_queries = rows_of(layer.queries, 0, layer.shape.window),
          .keys = rows_of(layer.keys, 0, prompt),
          .values = rows_of(layer.values, 0, prompt),
          .query_mean = all_of(layer.query_mean),
          .query_covariance = all_of(layer.query_covariance),
          .query_count = layer.query_count,
          .future = nullptr};
}

}  // namespace evictlab::trace
