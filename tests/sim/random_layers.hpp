#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "core/random.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"
#include "trace/layer.hpp"

namespace evictlab::testing {

using trace::Index;

struct RandomShape {
  Index layers = 4;
  Index query_heads = 4;
  Index kv_heads = 2;
  Index length = 60;
  Index window = 12;  // recorded rows
  std::uint64_t seed = 1;
  double sharpness = 3.0;  // of the attention: of its logits' spread
};

/// Layers of one prompt with every field that a policy reads, from a seed: softmax rows of random logits that differ
/// in spread from head to head and layer to layer, everything else independent of them.
class RandomLayers {
 public:
  explicit RandomLayers(const RandomShape& shape) : shape_(shape), random_(shape.seed) {
    data_.resize(static_cast<std::size_t>(shape.layers));
    for (Index l = 0; l < shape.layers; ++l) fill(data_[static_cast<std::size_t>(l)], l);
    look();
  }
  RandomLayers(const RandomLayers&) = delete;
  RandomLayers& operator=(const RandomLayers&) = delete;

  const std::vector<trace::LayerView>& views() const { return views_; }
  const std::vector<trace::LayerData>& data() const { return data_; }
  /// Changes every layer's data in place.
  void change(const std::function<void(trace::LayerData&)>& how) {
    for (trace::LayerData& layer : data_) how(layer);
    look();
  }

  sim::Retention kept(const std::string& policy, double slots) const {
    return sim::evict(sim::make_policy(policy), views_, slots);
  }

 private:
  // Of mean 0 and variance 1, nearly normal.
  double number() {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i) sum += random_.uniform();
    return sum;
  }

  void fill(trace::LayerData& layer, Index index) {
    const Index d = 4;
    layer.shape = {.layer = index,
                   .layers = shape_.layers,
                   .query_heads = shape_.query_heads,
                   .kv_heads = shape_.kv_heads,
                   .head_dim = d,
                   .prompt_length = shape_.length,
                   .future_length = 1,
                   .window = shape_.window,
                   .attention_scale = 0.5,
                   .rope_theta = 0.0};
    const auto matrix = [this](Index heads, Index rows, Index columns, const std::function<double()>& value) {
      trace::Tensor tensor(trace::ElementType::kFloat32, heads, rows, columns);
      for (float& element : tensor.floats()) element = static_cast<float>(value());
      return tensor;
    };
    const Index n = shape_.length;
    layer.window_attention = trace::Tensor(trace::ElementType::kFloat32, shape_.query_heads, shape_.window, n);
    for (Index h = 0; h < shape_.query_heads; ++h) {
      const double spread = shape_.sharpness * (0.2 + 1.6 * random_.uniform());
      std::vector<double> liking(static_cast<std::size_t>(n));
      for (double& logit : liking) logit = spread * number();
      for (Index r = 0; r < shape_.window; ++r) set_row(layer.window_attention, h, r, n - shape_.window + r, liking);
    }
    layer.attention_mass = matrix(shape_.query_heads, 1, n, [this] { return 5.0 * random_.uniform(); });
    layer.future_mass = matrix(shape_.query_heads, 1, n + 1, [this] { return random_.uniform(); });
    layer.output_norms = matrix(shape_.query_heads, 1, n + 1, [this] { return 0.1 + random_.uniform(); });
    layer.keys = matrix(shape_.kv_heads, n + 1, d, [this] { return number(); });
    layer.values = matrix(shape_.kv_heads, n + 1, d, [this] { return number(); });
    layer.query_mean = matrix(shape_.query_heads, 1, d, [this] { return number(); });
    layer.query_covariance = trace::Tensor(trace::ElementType::kFloat32, shape_.query_heads, d, d);
    for (Index h = 0; h < shape_.query_heads; ++h) {
      for (Index i = 0; i < d; ++i) layer.query_covariance.floats()[static_cast<std::size_t>((h * d + i) * d + i)] = 1;
    }
    layer.query_count = n;
    // A stream of their own: what was drawn before these came stays as it was.
    core::SplitMix64 own(shape_.seed * 1000003U + static_cast<std::uint64_t>(index));
    const auto symmetric = [&own] { return own.uniform() + own.uniform() - 1.0; };
    layer.queries = matrix(shape_.query_heads, shape_.window + 1, d, [&] { return 3.0 * symmetric(); });
    layer.repeat_attention = matrix(shape_.kv_heads, 1, n, [&] { return own.uniform(); });
    auto weight = std::make_shared<trace::RowMatrix>(shape_.query_heads * d, 6);
    for (Index i = 0; i < weight->size(); ++i) weight->data()[i] = static_cast<float>(symmetric());
    layer.output_weight = std::move(weight);
  }

  // Softmax of what the head likes, plus what this query likes.
  void set_row(trace::Tensor& attention, Index head, Index row, Index position, const std::vector<double>& liking) {
    std::vector<float> weights(liking.size(), 0.0F);
    double sum = 0.0;
    for (Index j = 0; j <= position; ++j) {
      const double weight = std::exp(liking[static_cast<std::size_t>(j)] + 0.5 * number());
      weights[static_cast<std::size_t>(j)] = static_cast<float>(weight);
      sum += weight;
    }
    for (float& weight : weights) weight = static_cast<float>(static_cast<double>(weight) / sum);
    attention.set_row(head, row, weights);
  }

  void look() {
    views_.clear();
    futures_.clear();
    for (const trace::LayerData& layer : data_) futures_.push_back(trace::future_view(layer));
    for (std::size_t l = 0; l < data_.size(); ++l) {
      views_.push_back(trace::layer_view(data_[l]));
      views_.back().future = &futures_[l];
    }
  }

  RandomShape shape_;
  core::SplitMix64 random_;
  std::vector<trace::LayerData> data_;
  std::vector<trace::FutureView> futures_;
  std::vector<trace::LayerView> views_;
};

/// Shapes at the corners: one layer, one head, every query head its own kv head, one kv head for all, a prompt no
/// longer than a window.
inline std::vector<RandomShape> corner_shapes() {
  return {{},
          {.layers = 1, .seed = 2},
          {.query_heads = 1, .kv_heads = 1, .seed = 3},
          {.query_heads = 3, .kv_heads = 3, .seed = 4},
          {.query_heads = 4, .kv_heads = 1, .seed = 5},
          {.layers = 8, .length = 200, .seed = 6},
          {.layers = 3, .length = 10, .window = 10, .seed = 7},
          {.layers = 5, .length = 97, .seed = 8, .sharpness = 8.0}};
}

/// [layers][kept sets], each ascending.
inline std::vector<std::vector<std::vector<std::int32_t>>> kept_sets(const sim::Retention& retention) {
  std::vector<std::vector<std::vector<std::int32_t>>> sets;
  for (const sim::LayerRetention& layer : retention.layers) {
    sets.emplace_back();
    for (Index set = 0; set < layer.sets(); ++set) sets.back().push_back(layer.kept_ascending(set));
  }
  return sets;
}

/// Stored positions of all sets of a layer, each time they are stored.
inline Index stored(const sim::LayerRetention& layer) { return static_cast<Index>(layer.positions.size()); }

/// The heads of a tensor in another order: head i of the result was order[i].
inline trace::Tensor reordered(const trace::Tensor& tensor, const std::vector<Index>& order) {
  trace::Tensor result = tensor;
  const auto size = static_cast<std::size_t>(tensor.rows() * tensor.columns());
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto from = tensor.floats().subspan(static_cast<std::size_t>(order[i]) * size, size);
    std::copy(from.begin(), from.end(), result.floats().begin() + static_cast<std::ptrdiff_t>(i * size));
  }
  return result;
}

}  // namespace evictlab::testing
