// CriticalKV's second opinion (Feng et al. 2025, arXiv:2502.03805): how much a position can move the layer's output,
//
//   N_g[j] = mean over the query heads h of kv head g of || value_j W_O^h ||_1
//
// from the recorded norms. The mean over the group is NVIDIA/kvpress' choice.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

class OutputNormScorer final : public Scorer {
 public:
  explicit OutputNormScorer(Granularity granularity) : granularity_(granularity) {}

  Needs needs() const override { return {trace::Field::kOutputNorms, 0, false}; }
  Granularity granularity() const override { return granularity_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index heads_per_set = layer.shape.query_heads / scores.rows();
    Eigen::RowVectorXf row(scores.cols());
    for (Index set = 0; set < scores.rows(); ++set) {
      Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(scores.cols());
      for (Index i = 0; i < heads_per_set; ++i) {
        layer.output_norms.copy_row(set * heads_per_set + i, 0, {row.data(), static_cast<std::size_t>(row.size())});
        sum += row.cast<double>();
      }
      scores.row(set) = (sum / static_cast<double>(heads_per_set)).cast<float>();
    }
  }

 private:
  Granularity granularity_;
};

}  // namespace

ScorerDefinition output_norm_scorer() {
  ParameterList parameters;
  parameters.add(axis_parameter());
  return {.description = "what a value can move the layer's output (CriticalKV's second stage)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<OutputNormScorer>(granularity_from(given)); }};
}

}  // namespace evictlab::sim
