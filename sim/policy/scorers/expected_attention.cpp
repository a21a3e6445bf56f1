// Expected attention (Devoto et al. 2025, arXiv:2510.00636, section 3): what queries drawn from a normal distribution
// would pay a position. With mean mu and covariance Sigma of the prompt's queries before position encoding, and R the
// mean rotation over the next F positions,
//
//   z_h[j] = (R mu)·k_j / sqrt(d) + k_j^T (R Sigma R^T) k_j / (2 d)     j >= sinks
//   s_g[j] = ( mean over the group of softmax_j z_h + epsilon ) * ||v_j||_2
//
// and the sinks one more than the best, as NVIDIA/kvpress computes it. 1/sqrt(d) is the layer's attention scale.

#include <cmath>

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

using Matrix = Eigen::MatrixXd;

// The mean of the rotation matrices of positions first ... first + count - 1; halves are rotated against each other.
Matrix mean_rotation(Index d, double theta, Index first, Index count) {
  Matrix rotation = Matrix::Zero(d, d);
  const Index half = d / 2;
  for (Index i = 0; i < half; ++i) {
    const double frequency = std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
    double cosine = 0.0;
    double sine = 0.0;
    for (Index position = first; position < first + count; ++position) {
      cosine += std::cos(static_cast<double>(position) * frequency);
      sine += std::sin(static_cast<double>(position) * frequency);
    }
    cosine /= static_cast<double>(count);
    sine /= static_cast<double>(count);
    rotation(i, i) = cosine;
    rotation(i, i + half) = -sine;
    rotation(i + half, i) = sine;
    rotation(i + half, i + half) = cosine;
  }
  return rotation;
}

class ExpectedAttentionScorer final : public Scorer {
 public:
  explicit ExpectedAttentionScorer(const Parameters& given)
      : future_(given.integer("future")),
        sinks_(given.integer("sinks")),
        covariance_(is_yes(given, "covariance")),
        values_(is_yes(given, "values")),
        epsilon_(given.number("epsilon")) {}

  Needs needs() const override {
    trace::Fields fields = trace::Field::kKeys | trace::Field::kQueryMean;
    if (values_) fields |= trace::Field::kValues;
    if (covariance_) fields |= trace::Field::kQueryCovariance;
    return {fields, 0, false};
  }
  Granularity granularity() const override { return Granularity::kKvHead; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const trace::LayerShape& shape = layer.shape;
    if (!shape.rope_theta) {
      throw PolicyError(
          "expected-attention knows plain rotary position encoding only; layer {} is encoded in another way",
          shape.layer);
    }
    const Index n = shape.prompt_length;
    const Index first = std::max(shape.first_visible(), std::min(sinks_, n));
    const Index count = n - first;
    const Matrix rotation = *shape.rope_theta > 0.0 ? mean_rotation(shape.head_dim, *shape.rope_theta, n, future_)
                                                    : Matrix::Identity(shape.head_dim, shape.head_dim);
    for (Index head = 0; head < scores.rows() && count > 0; ++head) {
      const Matrix keys = layer.keys.row_range(first, count).copy_head(head).cast<double>();
      Eigen::VectorXd expected = Eigen::VectorXd::Zero(count);
      for (Index i = 0; i < shape.group_size(); ++i) {
        expected += weights(layer, rotation, keys, head * shape.group_size() + i);
      }
      expected /= static_cast<double>(shape.group_size());
      if (values_) {
        const Matrix values = layer.values.row_range(first, count).copy_head(head).cast<double>();
        expected = (expected.array() + epsilon_) * values.rowwise().norm().array();
      }
      scores.row(head).segment(first, count) = expected.transpose().cast<float>();
    }
    const float best = count > 0 ? scores.middleCols(first, count).maxCoeff() : 0.0F;
    scores.leftCols(first).setConstant(best + 1.0F);
  }

 private:
  Eigen::VectorXd weights(const trace::LayerView& layer, const Matrix& rotation, const Matrix& keys, Index head) const {
    const double scale = layer.shape.attention_scale;
    const Eigen::VectorXd mean = rotation * layer.query_mean.copy_head(head).row(0).transpose().cast<double>();
    Eigen::VectorXd logits = scale * (keys * mean);
    if (covariance_) {
      const Matrix covariance = rotation * layer.query_covariance.copy_head(head).cast<double>() * rotation.transpose();
      logits += scale * scale / 2.0 * (keys * covariance).cwiseProduct(keys).rowwise().sum();
    }
    const Eigen::VectorXd weight = (logits.array() - logits.maxCoeff()).exp();
    return weight / weight.sum();
  }

  Index future_;  // positions that the rotation is averaged over
  Index sinks_;   // kept before all others
  bool covariance_;
  bool values_;  // weigh by the value's norm
  double epsilon_;
};

}  // namespace

ScorerDefinition expected_attention_scorer() {
  ParameterList parameters;
  parameters.integer("future", 512, {1, 1 << 20}, "positions after the prompt that queries are expected at")
      .integer("sinks", 4, {0, kMaxPositions}, "first positions, which score highest")
      .add(yes_no_parameter("covariance", true, "whether queries scatter about their mean"))
      .add(yes_no_parameter("values", true, "weigh by the norm of the value"))
      .number("epsilon", 0.0, {0.0, 1.0}, "added to the attention before it is weighed");
  return {.description = "what queries like the prompt's would attend to (expected attention)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<ExpectedAttentionScorer>(given); }};
}

}  // namespace evictlab::sim
