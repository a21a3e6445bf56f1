#pragma once

#include <Eigen/Dense>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <vector>

#include "runtime/gradients.hpp"
#include "runtime/layer_weights.hpp"
#include "runtime/rope.hpp"
#include "runtime/transformer.hpp"

// The forward pass over a prompt's future in double, position by position: keys and values of the prompt are what the
// cache holds. Attention outputs can be moved, so that what gradients say can be seen by moving them.

namespace evictlab::testing {

using runtime::Index;
using Moves = std::vector<Eigen::MatrixXd>;  // [L] of [T, hidden]

class DoubleTwin {
 public:
  /// `cache` holds the n prompt positions and then the future's, of which `states` are the streams.
  DoubleTwin(const runtime::Transformer& model, const runtime::KvCache& cache, const runtime::StreamStates& states)
      : model_(model),
        config_(model.config()),
        cache_(cache),
        embedded_(states.before(0).cast<double>()),
        prompt_(states.first_position()),
        rope_(runtime::rope_table(config_.rope, config_.head_dim, prompt_, embedded_.rows())) {
    for (Index layer = 0; layer < config_.layers; ++layer) {
      const runtime::LayerWeights& own = model.layer_weights(layer);
      weights_.push_back({dense(own.query), dense(own.key), dense(own.value), dense(own.attention_output),
                          dense(own.gate), dense(own.up), dense(own.down)});
    }
    head_ = dense(model.output_head());
  }

  Index queries() const { return embedded_.rows(); }

  /// [T, vocab] logits where every layer's attention output is moved.
  Eigen::MatrixXd logits(const Moves& moves) const {
    Eigen::MatrixXd stream = embedded_;
    for (Index layer = 0; layer < config_.layers; ++layer) {
      const Weights& weights = weights_[static_cast<std::size_t>(layer)];
      stream += attention(layer, stream, {}) + moves[static_cast<std::size_t>(layer)];
      const Eigen::MatrixXd normed = norm(stream, model_.layer_weights(layer).mlp_norm);
      const Eigen::MatrixXd gate = weights.gate(normed);
      const Eigen::MatrixXd silu = gate.array() / (1.0 + (-gate.array()).exp());
      stream += weights.down(silu.cwiseProduct(weights.up(normed)));
    }
    return head_(norm(stream, model_.final_norm()));
  }

  /// [T, vocab] log p.
  Eigen::MatrixXd log_probabilities(const Moves& moves) const {
    Eigen::MatrixXd rows = logits(moves);
    for (Index t = 0; t < rows.rows(); ++t) {
      const double largest = rows.row(t).maxCoeff();
      rows.row(t).array() -= largest + std::log((rows.row(t).array() - largest).exp().sum());
    }
    return rows;
  }

  /// What every layer's attention output loses on the full cache's states where only `kept` prompt positions are held.
  Moves changes(const std::set<Index>& kept) const {
    Moves changes;
    Eigen::MatrixXd stream = embedded_;
    for (Index layer = 0; layer < config_.layers; ++layer) {
      const Weights& weights = weights_[static_cast<std::size_t>(layer)];
      const Eigen::MatrixXd whole = attention(layer, stream, {});
      changes.push_back(whole - attention(layer, stream, kept));
      stream += whole;
      const Eigen::MatrixXd normed = norm(stream, model_.layer_weights(layer).mlp_norm);
      const Eigen::MatrixXd gate = weights.gate(normed);
      const Eigen::MatrixXd silu = gate.array() / (1.0 + (-gate.array()).exp());
      stream += weights.down(silu.cwiseProduct(weights.up(normed)));
    }
    return changes;
  }

  Moves nothing() const {
    return Moves(static_cast<std::size_t>(config_.layers),
                 Eigen::MatrixXd::Zero(embedded_.rows(), config_.hidden_size));
  }

 private:
  struct Dense {
    Eigen::MatrixXd weight;
    Eigen::RowVectorXd bias;
    Eigen::MatrixXd operator()(const Eigen::MatrixXd& x) const {
      Eigen::MatrixXd y = x * weight.transpose();
      if (bias.size() > 0) y.rowwise() += bias;
      return y;
    }
  };
  struct Weights {
    Dense query, key, value, output, gate, up, down;
  };

  static Dense dense(const runtime::Linear& linear) {
    runtime::RowMatrix weight(linear.weight.rows(), linear.weight.columns());
    linear.weight.copy_rows(0, {weight.data(), static_cast<std::size_t>(weight.size())});
    const auto& bias = linear.bias;
    return {weight.cast<double>(),
            Eigen::Map<const Eigen::RowVectorXf>(bias.data(), static_cast<Index>(bias.size())).cast<double>()};
  }

  Eigen::MatrixXd norm(const Eigen::MatrixXd& rows, std::span<const float> weight) const {
    Eigen::MatrixXd result = rows;
    for (Index r = 0; r < rows.rows(); ++r) {
      const double size = static_cast<double>(rows.cols());
      result.row(r) /= std::sqrt(rows.row(r).squaredNorm() / size + config_.rms_norm_eps);
      for (Index i = 0; i < rows.cols(); ++i) result(r, i) *= static_cast<double>(weight[static_cast<std::size_t>(i)]);
    }
    return result;
  }

  Eigen::MatrixXd turned(const Eigen::MatrixXd& rows) const {
    const Index pairs = config_.head_dim / 2;
    const Eigen::ArrayXXd cosine = rope_.cosine.cast<double>();
    const Eigen::ArrayXXd sine = rope_.sine.cast<double>();
    Eigen::MatrixXd result(rows.rows(), rows.cols());
    result.leftCols(pairs) = rows.leftCols(pairs).array() * cosine - rows.rightCols(pairs).array() * sine;
    result.rightCols(pairs) = rows.rightCols(pairs).array() * cosine + rows.leftCols(pairs).array() * sine;
    return result;
  }

  /// A layer's attention output after W_O. `kept`: the prompt positions held, all where it is empty.
  Eigen::MatrixXd attention(Index layer, const Eigen::MatrixXd& stream, const std::set<Index>& kept) const {
    const runtime::LayerWeights& stored = model_.layer_weights(layer);
    const Weights& weights = weights_[static_cast<std::size_t>(layer)];
    const Index d = config_.head_dim;
    const Index window = config_.sliding_windows[static_cast<std::size_t>(layer)];
    const Eigen::MatrixXd normed = norm(stream, stored.attention_norm);
    const Eigen::MatrixXd queries = weights.query(normed);
    const Eigen::MatrixXd keys = weights.key(normed);
    const Eigen::MatrixXd values = weights.value(normed);
    const auto head_of = [&](const Eigen::MatrixXd& all, Index head, const std::vector<float>& weight) {
      const Eigen::MatrixXd own = all.middleCols(head * d, d);
      return turned(weight.empty() ? own : norm(own, weight));
    };
    Eigen::MatrixXd mixed(stream.rows(), config_.query_heads * d);
    for (Index h = 0; h < config_.query_heads; ++h) {
      const Index g = h / config_.group_size();
      Eigen::MatrixXd all_keys(prompt_ + stream.rows(), d);
      Eigen::MatrixXd all_values(prompt_ + stream.rows(), d);
      all_keys << cache_.keys(layer, g).topRows(prompt_).cast<double>(), head_of(keys, g, stored.key_norm);
      all_values << cache_.values(layer, g).topRows(prompt_).cast<double>(), values.middleCols(g * d, d);
      const Eigen::MatrixXd asked = head_of(queries, h, stored.query_norm);
      for (Index t = 0; t < stream.rows(); ++t) {
        Eigen::RowVectorXd weight = Eigen::RowVectorXd::Zero(all_keys.rows());
        for (Index j = 0; j <= prompt_ + t; ++j) {
          const bool seen = window == 0 || prompt_ + t - j < window;
          if (!seen || (j < prompt_ && !kept.empty() && !kept.contains(j))) continue;
          weight[j] = std::exp(config_.attention_scale() * asked.row(t).dot(all_keys.row(j)));
        }
        mixed.block(t, h * d, 1, d) = weight / weight.sum() * all_values;
      }
    }
    return weights.output(mixed);
  }

  const runtime::Transformer& model_;
  const runtime::ModelConfig& config_;
  const runtime::KvCache& cache_;
  Eigen::MatrixXd embedded_;  // [T, hidden]
  Index prompt_;
  runtime::RopeTable rope_;
  std::vector<Weights> weights_;
  Dense head_;
};

}  // namespace evictlab::testing
