#include "runtime/gradients.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/interrupt.hpp"
#include "core/parallel.hpp"
#include "core/random.hpp"
#include "runtime/backward.hpp"
#include "runtime/layer_weights.hpp"
#include "runtime/rope.hpp"

namespace evictlab::runtime {
namespace {

// Rows of gradients that exist over the MLP's width, or over the vocabulary, at a time; never fewer than a draw's
// queries, or one query's draws.
constexpr Index kWideRows = 1024;
constexpr Index kLogitRows = 512;

std::vector<double> next_token_probabilities(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> probabilities;
  double sum = 0.0;
  for (const float logit : logits) sum += probabilities.emplace_back(std::exp(static_cast<double>(logit) - largest));
  for (double& probability : probabilities) probability /= sum;
  return probabilities;
}

/// The backward pass of one chunk.
class BackwardPass {
 public:
  BackwardPass(const Transformer& model, const KvCache& cache, const StreamStates& states, Index draws)
      : model_(model),
        config_(model.config()),
        cache_(cache),
        states_(states),
        draws_(draws),
        queries_(states.before(0).rows()),
        rope_(rope_table(config_.rope, config_.head_dim, states.first_position(), queries_)) {}

  /// From the logits to the end of the last layer.
  void begin(const LogitGradient& logit_gradient) {
    stream_ = RowMatrix(draws_ * queries_, config_.hidden_size);
    const Index last = config_.layers - 1;
    Mlp mlp = mlp_states(last);
    gate_with_silu(mlp.gate, mlp.up);
    RowMatrix normed(queries_, config_.hidden_size);
    apply(model_.layer_weights(last).down, mlp.gate, normed);
    const RowMatrix hidden = states_.after(last) + normed;
    rms_norm(hidden, model_.final_norm(), config_.rms_norm_eps, normed);
    const Index together = std::max<Index>(1, kLogitRows / draws_);
    for (Index first = 0; first < queries_; first += together) {
      core::throw_if_interrupted();
      add_logits(normed.middleRows(first, std::min(together, queries_ - first)), first, logit_gradient);
    }
    rms_norm_backward(hidden, model_.final_norm(), config_.rms_norm_eps, stream_);
  }

  /// From the end of a layer to its attention output.
  void through_mlp(Index layer) {
    const LayerWeights& weights = model_.layer_weights(layer);
    const Mlp forward = mlp_states(layer);
    const Index rows = std::max<Index>(1, kWideRows / queries_) * queries_;  // whole draws
    for (Index first = 0; first < stream_.rows(); first += rows) {
      auto block = stream_.middleRows(first, std::min(rows, stream_.rows() - first));
      RowMatrix up(block.rows(), config_.intermediate_size);
      RowMatrix gate(block.rows(), config_.intermediate_size);
      apply_transposed(weights.down.weight, block, up);
      gate_with_silu_backward(forward.gate, forward.up, up, gate);
      RowMatrix normed(block.rows(), config_.hidden_size);
      RowMatrix part(block.rows(), config_.hidden_size);
      apply_transposed(weights.gate.weight, gate, normed);
      apply_transposed(weights.up.weight, up, part);
      normed += part;
      rms_norm_backward(states_.after(layer), weights.mlp_norm, config_.rms_norm_eps, normed);
      block += normed;
    }
  }

  /// From a layer's attention output to its beginning.
  void through_attention(Index layer) {
    const LayerWeights& weights = model_.layer_weights(layer);
    const Index d = config_.head_dim;
    RowMatrix normed(queries_, config_.hidden_size);
    rms_norm(states_.before(layer), weights.attention_norm, config_.rms_norm_eps, normed);
    RowMatrix raw_queries(queries_, config_.query_heads * d);
    apply(weights.query, normed, raw_queries);
    RowMatrix mixed(stream_.rows(), config_.query_heads * d);
    apply_transposed(weights.attention_output.weight, stream_, mixed);
    AttentionGradients gradients = cached_attention_backward(
        turned(raw_queries, weights.query_norm).view(), cache_, layer, static_cast<float>(config_.attention_scale()),
        config_.sliding_windows[static_cast<std::size_t>(layer)], mixed);
    rotate_backward(rope_, gradients.queries);
    rotate_backward(rope_, gradients.keys);
    if (!weights.query_norm.empty()) through_head_norm(raw_queries, weights.query_norm, gradients.queries);
    if (!weights.key_norm.empty()) {
      RowMatrix raw_keys(queries_, config_.kv_heads * d);
      apply(weights.key, normed, raw_keys);
      through_head_norm(raw_keys, weights.key_norm, gradients.keys);
    }
    RowMatrix sum(stream_.rows(), config_.hidden_size);
    RowMatrix part(stream_.rows(), config_.hidden_size);
    apply_transposed(weights.query.weight, gradients.queries, sum);
    apply_transposed(weights.key.weight, gradients.keys, part);
    sum += part;
    apply_transposed(weights.value.weight, gradients.values, part);
    sum += part;
    rms_norm_backward(states_.before(layer), weights.attention_norm, config_.rms_norm_eps, sum);
    stream_ += sum;
  }

  /// [R * T, hidden] by the residual stream where the pass has come to.
  const RowMatrix& stream() const { return stream_; }

 private:
  struct Mlp {
    RowMatrix gate;  // [T, intermediate] before silu
    RowMatrix up;    // [T, intermediate]
  };

  Mlp mlp_states(Index layer) const {
    const LayerWeights& weights = model_.layer_weights(layer);
    Mlp result{RowMatrix(queries_, config_.intermediate_size), RowMatrix(queries_, config_.intermediate_size)};
    RowMatrix normed(queries_, config_.hidden_size);
    rms_norm(states_.after(layer), weights.mlp_norm, config_.rms_norm_eps, normed);
    apply(weights.gate, normed, result.gate);
    apply(weights.up, normed, result.up);
    return result;
  }

  /// Writes the stream's gradients at queries first, first + 1, ..., whose normed states are given.
  void add_logits(const Eigen::Ref<const RowMatrix>& normed, Index first, const LogitGradient& logit_gradient) {
    const auto vocabulary = static_cast<std::size_t>(config_.vocab_size);
    RowMatrix logits(normed.rows(), config_.vocab_size);
    apply(model_.output_head(), normed, logits);
    RowMatrix gradients(draws_ * normed.rows(), config_.vocab_size);
    core::parallel_for(static_cast<std::size_t>(normed.rows()), [&](std::size_t task) {
      const auto i = static_cast<Index>(task);
      const std::vector<double> probabilities = next_token_probabilities({logits.row(i).data(), vocabulary});
      for (Index draw = 0; draw < draws_; ++draw) {
        logit_gradient(draw, first + i, probabilities, {gradients.row(draw * normed.rows() + i).data(), vocabulary});
      }
    });
    RowMatrix by_normed(gradients.rows(), config_.hidden_size);
    apply_transposed(model_.output_head().weight, gradients, by_normed);
    for (Index draw = 0; draw < draws_; ++draw) {
      stream_.middleRows(draw * queries_ + first, normed.rows()) =
          by_normed.middleRows(draw * normed.rows(), normed.rows());
    }
  }

  /// Every head of [T, heads * d] normed, where there is a weight, and turned, head after head: [heads, T, d].
  trace::Tensor turned(const RowMatrix& raw, const std::vector<float>& norm) const {
    const Index d = config_.head_dim;
    const Index heads = raw.cols() / d;
    RowMatrix states = raw;
    if (!norm.empty()) {
      Eigen::Map<RowMatrix> rows(states.data(), states.size() / d, d);
      rms_norm(rows, norm, config_.rms_norm_eps, rows);
    }
    trace::Tensor result(trace::ElementType::kFloat32, heads, queries_, d);
    Eigen::Map<RowMatrix> by_head(result.floats().data(), heads * queries_, d);
    for (Index head = 0; head < heads; ++head) {
      rotate(states.middleCols(head * d, d), rope_, by_head.middleRows(head * queries_, queries_));
    }
    return result;
  }

  /// rms_norm_backward() of every head on its own; raw [T, heads * d], gradients [R * T, heads * d].
  void through_head_norm(const RowMatrix& raw, const std::vector<float>& weight, RowMatrix& gradients) const {
    const Index d = config_.head_dim;
    const Eigen::Map<const RowMatrix> rows(raw.data(), raw.size() / d, d);
    Eigen::Map<RowMatrix> by_row(gradients.data(), gradients.size() / d, d);
    rms_norm_backward(rows, weight, config_.rms_norm_eps, by_row);
  }

  const Transformer& model_;
  const ModelConfig& config_;
  const KvCache& cache_;
  const StreamStates& states_;
  Index draws_;
  Index queries_;  // T
  RopeTable rope_;
  RowMatrix stream_;
};

}  // namespace

void StreamStates::on_attention_output(Index layer, Index first_position, const RowMatrix& residual,
                                       const RowMatrix& output) {
  if (layer == 0) {
    first_position_ = first_position;
    before_.clear();
    after_.clear();
  }
  before_.push_back(residual);
  after_.emplace_back(residual + output);
}

std::uint64_t random_signs(std::string_view prompt, Index draw, Index query, Index block) {
  using core::SplitMix64;
  std::uint64_t signs = core::text_hash(prompt);
  for (const Index number : {draw, query, block}) {
    signs = SplitMix64::mix(signs + (static_cast<std::uint64_t>(number) + 1) * SplitMix64::kIncrement);
  }
  return signs;
}

LogitGradient random_sign_gradient(std::string_view prompt) {
  return [id = std::string(prompt)](Index draw, Index query, std::span<const double> probabilities,
                                    std::span<float> gradient) {
    constexpr std::size_t kBits = 64;
    std::vector<double> roots(probabilities.size());  // xi sqrt(p)
    std::uint64_t signs = 0;
    double sum = 0.0;
    for (std::size_t token = 0; token < roots.size(); ++token) {
      if (token % kBits == 0) signs = random_signs(id, draw, query, static_cast<Index>(token / kBits));
      const double root = std::sqrt(probabilities[token]);
      roots[token] = (signs >> (token % kBits) & 1U) != 0 ? root : -root;
      sum += roots[token];
    }
    for (std::size_t token = 0; token < roots.size(); ++token) {
      gradient[token] = static_cast<float>(roots[token] - probabilities[token] * sum);
    }
  };
}

void attention_output_gradients(const Transformer& model, const KvCache& cache, const StreamStates& states, Index draws,
                                std::span<const Index> layers, const LogitGradient& logit_gradient,
                                const TakeGradients& take) {
  if (layers.empty()) return;
  BackwardPass pass(model, cache, states, draws);
  pass.begin(logit_gradient);
  for (Index layer = model.config().layers - 1; layer >= layers.front(); --layer) {
    core::throw_if_interrupted();
    pass.through_mlp(layer);
    if (std::ranges::binary_search(layers, layer)) take(layer, pass.stream());
    if (layer > layers.front()) pass.through_attention(layer);
  }
}

void recorded_gradients(const Transformer& model, const KvCache& cache, const StreamStates& states,
                        const trace::PromptInfo& prompt, const TakeStoredGradients& take) {
  const Index draws = prompt.gradient_draws;
  attention_output_gradients(
      model, cache, states, draws, prompt.layers, random_sign_gradient(prompt.id),
      [&](Index layer, const RowMatrix& gradients) { take(layer, stored_gradients(gradients, draws)); });
}

trace::Tensor stored_gradients(const RowMatrix& gradients, Index draws) {
  constexpr int kLargestExponent = 14;
  constexpr int kScaleExponents = 126;  // of normal floats
  const float largest = gradients.cwiseAbs().maxCoeff();
  int exponent = 0;
  if (largest > 0.0F) std::frexp(largest, &exponent);
  const int scale = largest > 0.0F ? std::clamp(kLargestExponent - exponent, -kScaleExponents, kScaleExponents) : 0;
  const Index queries = gradients.rows() / draws;
  trace::Tensor stored(trace::ElementType::kFloat16, draws, queries, gradients.cols(), std::ldexp(1.0F, scale));
  for (Index row = 0; row < gradients.rows(); ++row) {
    stored.set_row(row / queries, row % queries,
                   {gradients.row(row).data(), static_cast<std::size_t>(gradients.cols())});
  }
  return stored;
}

}  // namespace evictlab::runtime
