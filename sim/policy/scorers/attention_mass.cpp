// What the whole prompt has paid a position: H2O's heavy hitters (Zhang et al. 2023, arXiv:2306.14048, section 4),
//
//   s_h[j] = sum_t A_h[t, j]        over all prompt queries t; mean | max | sum over the query heads of a set
//
// not divided by how many queries could see j, so that early positions are favoured (KVCache-Factory at prefill), or
// divided by it (NVIDIA/kvpress' observed attention).

#include <fmt/format.h>

#include <algorithm>

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "sim/policy/parts.hpp"
#include "sim/policy/pooling.hpp"

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
    core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t index) {
      const auto set = static_cast<Index>(index);
      Eigen::RowVectorXd mass = reduced(heads_per_set, scoring_.reduction, [&](Index i) {
        Eigen::RowVectorXd row = Eigen::RowVectorXd::Zero(n);
        analysis::add_window_sums(layer.attention_mass, set * heads_per_set + i, 1, 0,
                                  {row.data(), static_cast<std::size_t>(n)});
        return row;
      });
      if (scoring_.per_observer) {
        for (Index j = 0; j < n; ++j) mass[j] /= static_cast<double>(observers(layer.shape, j));
      }
      scores.row(set) = mass.cast<float>();
    });
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
