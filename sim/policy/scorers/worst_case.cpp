// DefensiveKV's score (Feng et al. 2025, arXiv:2510.13334; FFY0/DefensiveKV@9251b95): the most that any query of the
// window, in any head of the group, pays a position, times what its value can move the output. With A_h the softmax
// over all n positions, m = n - w scorable ones, and per kv head g
//
//   P_h[t]  = average over `kernel` neighbours of A_h[t, :m], times (sum of A_h[t, :m]) / (sum of the average)
//   R_g[j]  = max over the group and the window's rows of P_h[t, j], and at least the mean of that over j
//   N_g[j]  = mean over the group of || v_j W_O^h ||_1, divided by its sum over the kv heads at the same position
//   s_g[j]  = R_g[j] N_g[j]
//
// The window's own positions get the layer's largest score. norm=positions divides by the sum over the head's
// positions instead, as the paper does for budgets that layers compete for; norm=none does not divide.

#include <algorithm>
#include <vector>

#include "core/parallel.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/pooling.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

enum class NormShare { kHeads, kPositions, kNone };

class WorstCaseScorer final : public Scorer {
 public:
  explicit WorstCaseScorer(const Parameters& given)
      : window_(given.integer("window")),
        kernel_(given.integer("kernel")),
        norm_(given.choice("norm") == "heads"       ? NormShare::kHeads
              : given.choice("norm") == "positions" ? NormShare::kPositions
                                                    : NormShare::kNone) {}

  Needs needs() const override { return {trace::Field::kWindowAttention | trace::Field::kOutputNorms, window_, false}; }
  Granularity granularity() const override { return Granularity::kKvHead; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const trace::LayerShape& shape = layer.shape;
    const Index first = shape.first_visible();
    const Index count = shape.prompt_length - window_ - first;
    float best = 1.0F;
    if (count > 0) {
      const Eigen::MatrixXd norms = output_norms(layer, first, count);
      core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t index) {
        const auto head = static_cast<Index>(index);
        const Eigen::RowVectorXd risk = worst_case(layer, head, first, count);
        scores.row(head).segment(first, count) = risk.cwiseProduct(norms.row(head)).cast<float>();
      });
      best = scores.middleCols(first, count).maxCoeff();
    }
    scores.rightCols(shape.prompt_length - std::max(first, first + count)).setConstant(best);
  }

 private:
  Eigen::RowVectorXd worst_case(const trace::LayerView& layer, Index kv_head, Index first, Index count) const {
    const Index group = layer.shape.group_size();
    Eigen::RowVectorXd risk = reduced(group, Reduction::kMax, [&](Index i) {
      const trace::TensorView rows = layer.window_attention.column_range(first, count);
      Eigen::RowVectorXd worst = Eigen::RowVectorXd::Zero(count);
      Eigen::RowVectorXf row(count);
      for (Index t = rows.rows() - window_; t < rows.rows(); ++t) {
        rows.copy_row(kv_head * group + i, t, {row.data(), static_cast<std::size_t>(count)});
        const Eigen::RowVectorXd weights = row.cast<double>();
        const Eigen::RowVectorXd smooth = pooled(weights, kernel_, Pooling::kAverage);
        const double mass = smooth.sum();
        if (mass > 0.0) worst = worst.cwiseMax(smooth * (weights.sum() / mass));
      }
      return worst;
    });
    return risk.cwiseMax(risk.mean());
  }

  // [G, count]
  Eigen::MatrixXd output_norms(const trace::LayerView& layer, Index first, Index count) const {
    const Index group = layer.shape.group_size();
    Eigen::MatrixXd norms = Eigen::MatrixXd::Zero(layer.shape.kv_heads, count);
    Eigen::RowVectorXf row(count);
    const trace::TensorView recorded = layer.output_norms.column_range(first, count);
    for (Index h = 0; h < layer.shape.query_heads; ++h) {
      recorded.copy_row(h, 0, {row.data(), static_cast<std::size_t>(count)});
      norms.row(h / group) += row.cast<double>() / static_cast<double>(group);
    }
    // Where all norms are 0 none is divided.
    const auto divisor = [](double sum) { return sum > 0.0 ? sum : 1.0; };
    if (norm_ == NormShare::kHeads) {
      for (Index j = 0; j < count; ++j) norms.col(j) /= divisor(norms.col(j).sum());
    } else if (norm_ == NormShare::kPositions) {
      for (Index g = 0; g < norms.rows(); ++g) norms.row(g) /= divisor(norms.row(g).sum());
    }
    return norms;
  }

  Index window_;
  Index kernel_;
  NormShare norm_;
};

}  // namespace

ScorerDefinition worst_case_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(32))
      .integer("kernel", 5, {1, 255, true}, "positions averaged over")
      .choice("norm", {"heads", "positions", "none"}, "over what the norms of the values' outputs are shares");
  return {.description = "the most that any of the last prompt queries pays, times the value's output (DefensiveKV)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<WorstCaseScorer>(given); }};
}

}  // namespace evictlab::sim
