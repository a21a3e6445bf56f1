// What the whole prompt has paid a position: H2O's heavy hitters (Zhang et al. 2023, arXiv:2306.14048, section 4),
//
//   s_h[j] = sum_t A_h[t, j]        over all prompt queries t; mean | max | sum over the query heads of a set
//
// not divided by how many queries could see j, so that early positions are favoured (KVCache-Factory at prefill), or
// divided by it (NVIDIA/kvpress' observed attention).

#include <fmt/format.h>

#include <algorithm>

#include "sim/parts.hpp"
#include "sim/pooling.hpp"

namespace evictlab::sim {
namespace {

class AttentionMassScorer final : public Scorer {
 public:
  explicit AttentionMassScorer(const MassScoring& scoring) : scoring_(scoring) {}

  std::string identity() const override {
    return fmt::format("attention-mass(reduction={},granularity={},per_observer={})",
                       static_cast<int>(scoring_.reduction), granularity_name(scoring_.granularity),
                       scoring_.per_observer);
  }
  Needs needs() const override { return {trace::Field::kAttentionMass, 0, false}; }
  Granularity granularity() const override { return scoring_.granularity; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index n = layer.shape.prompt_length;
    const Index heads_per_set = layer.shape.query_heads / scores.rows();
    std::vector<Eigen::RowVectorXd> heads(static_cast<std::size_t>(heads_per_set));
    Eigen::RowVectorXf row(n);
    for (Index set = 0; set < scores.rows(); ++set) {
      for (Index i = 0; i < heads_per_set; ++i) {
        layer.attention_mass.copy_row(set * heads_per_set + i, 0, {row.data(), static_cast<std::size_t>(n)});
        heads[static_cast<std::size_t>(i)] = row.cast<double>();
      }
      Eigen::RowVectorXd sum = reduced(heads, scoring_.reduction);
      if (scoring_.per_observer) {
        for (Index j = 0; j < n; ++j) sum[j] /= static_cast<double>(observers(layer.shape, j));
      }
      scores.row(set) = sum.cast<float>();
    }
  }

 private:
  // How many prompt queries can see position j.
  static Index observers(const trace::LayerShape& shape, Index j) {
    const Index later = shape.prompt_length - j;
    return shape.sliding_window > 0 ? std::min(later, shape.sliding_window) : later;
  }

  MassScoring scoring_;
};

}  // namespace

std::shared_ptr<const Scorer> attention_mass_scorer(const MassScoring& scoring) {
  return std::make_shared<AttentionMassScorer>(scoring);
}

}  // namespace evictlab::sim
