#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "core/half.hpp"
#include "trace/layer.hpp"

namespace evictlab::analysis {

/// A layer with random queries, keys and values and its attention worked out in double by plain loops:
/// the twin that the library's results are compared with.
struct RandomLayer {
  trace::LayerData data;
  trace::RowMatrix output_weight;  // [H*d, hidden]
  // attention[h][t][j] of future query n+t over positions 0..n+T-1.
  std::vector<std::vector<std::vector<double>>> attention;

  double value(trace::Index head, trace::Index position, trace::Index i) const {
    std::vector<float> row(static_cast<std::size_t>(data.shape.head_dim));
    data.values.view().copy_row(data.shape.kv_head_of(head), position, row);
    return row[static_cast<std::size_t>(i)];
  }
};

inline trace::Tensor random_tensor(std::mt19937_64& random, trace::ElementType type, trace::Index heads,
                                   trace::Index rows, trace::Index columns, float deviation) {
  std::normal_distribution<float> normal(0, deviation);
  trace::Tensor tensor(type, heads, rows, columns);
  std::vector<float> row(static_cast<std::size_t>(columns));
  for (trace::Index h = 0; h < heads; ++h) {
    for (trace::Index r = 0; r < rows; ++r) {
      for (float& x : row) x = normal(random);
      tensor.set_row(h, r, row);
    }
  }
  return tensor;
}

/// `peak` is the keys' standard deviation: larger makes attention more peaked.
inline RandomLayer random_layer(std::mt19937_64& random, const trace::LayerShape& shape, trace::Index hidden,
                                float peak, trace::ElementType type = trace::ElementType::kFloat32) {
  using trace::Index;
  RandomLayer layer;
  layer.data.shape = shape;
  const Index positions = shape.prompt_length + shape.future_length;
  layer.data.queries =
      random_tensor(random, type, shape.query_heads, shape.window + shape.future_length, shape.head_dim, 1);
  layer.data.keys = random_tensor(random, type, shape.kv_heads, positions, shape.head_dim, peak);
  layer.data.values = random_tensor(random, type, shape.kv_heads, positions, shape.head_dim, 1);
  layer.data.residual_norms = random_tensor(random, trace::ElementType::kFloat32, 3, 1, shape.future_length, 1);
  for (float& norm : layer.data.residual_norms.floats()) norm = 1.0F + std::abs(norm);
  layer.output_weight = trace::RowMatrix(shape.query_heads * shape.head_dim, hidden);
  std::normal_distribution<float> normal;
  for (Index i = 0; i < layer.output_weight.size(); ++i) layer.output_weight.data()[i] = normal(random);

  layer.data.future_mass = trace::Tensor(trace::ElementType::kFloat32, shape.query_heads, 1, positions);
  layer.data.output_norms = trace::Tensor(trace::ElementType::kFloat32, shape.query_heads, 1, positions);
  std::vector<float> query(static_cast<std::size_t>(shape.head_dim));
  std::vector<float> key(query.size());
  for (Index h = 0; h < shape.query_heads; ++h) {
    std::vector<double> mass(static_cast<std::size_t>(positions));
    auto& rows = layer.attention.emplace_back();
    for (Index t = 0; t < shape.future_length; ++t) {
      auto& row = rows.emplace_back(mass.size());
      layer.data.queries.view().copy_row(h, shape.window + t, query);
      const Index own = shape.prompt_length + t;
      double sum = 0;
      for (Index j = 0; j <= own; ++j) {
        if (shape.sliding_window > 0 && own - j >= shape.sliding_window) continue;
        layer.data.keys.view().copy_row(shape.kv_head_of(h), j, key);
        double product = 0;
        for (std::size_t i = 0; i < key.size(); ++i) product += double{query[i]} * double{key[i]};
        sum += row[static_cast<std::size_t>(j)] = std::exp(shape.attention_scale * product);
      }
      for (std::size_t j = 0; j < row.size(); ++j) mass[j] += row[j] /= sum;
    }
    std::vector<float> norms(mass.size());
    for (Index j = 0; j < positions; ++j) {
      double norm = 0;
      for (Index c = 0; c < hidden; ++c) {
        double u = 0;
        for (Index i = 0; i < shape.head_dim; ++i) {
          u += layer.value(h, j, i) * double{layer.output_weight(h * shape.head_dim + i, c)};
        }
        norm += std::abs(u);
      }
      norms[static_cast<std::size_t>(j)] = static_cast<float>(norm);
    }
    layer.data.future_mass.set_row(h, 0, std::vector<float>(mass.begin(), mass.end()));
    layer.data.output_norms.set_row(h, 0, norms);
  }
  layer.data.output_gradients = random_tensor(random, trace::ElementType::kFloat16, 3, shape.future_length, hidden, 1);
  return layer;
}

}  // namespace evictlab::analysis
