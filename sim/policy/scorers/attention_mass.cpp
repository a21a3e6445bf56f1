// What the whole prompt has paid a position: H2O's heavy hitters (Zhang et al. 2023, arXiv:2306.14048, section 4),
//
//   s_h[j] = sum_t A_h[t, j]        over all prompt queries t; mean | max | sum over the query heads of a set
//
// not divided by how many queries could see j, so that early positions are favoured (KVCache-Factory at prefill), or
// divided by it (NVIDIA/kvpress' observed attention).

#include <algorithm>

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/pooling.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

class AttentionMassScorer final : public Scorer {
 public:
  explicit AttentionMassScorer(const Parameters& given)
      : reduction_(reduction_from(given)),
        granularity_(granularity_from(given)),
        per_observer_(is_yes(given, "per_observer")) {}

  Needs needs() const override { return {trace::Field::kAttentionMass, 0, false}; }
  Granularity granularity() const override { return granularity_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index n = layer.shape.prompt_length;
    const Index heads_per_set = layer.shape.query_heads / scores.rows();
    core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t index) {
      const auto set = static_cast<Index>(index);
      Eigen::RowVectorXd mass = reduced(heads_per_set, reduction_, [&](Index i) {
        Eigen::RowVectorXd row = Eigen::RowVectorXd::Zero(n);
        analysis::add_window_sums(layer.attention_mass, set * heads_per_set + i, 1, 0,
                                  {row.data(), static_cast<std::size_t>(n)});
        return row;
      });
      if (per_observer_) {
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

  Reduction reduction_;
  Granularity granularity_;
  bool per_observer_;
};

}  // namespace

ScorerDefinition attention_mass_scorer() {
  ParameterList parameters;
  parameters.add(reduction_parameter()).add(axis_parameter());
  ParameterList settings;
  settings.add(yes_no_parameter("per_observer", false, "divide by how many queries could see the position"));
  return {.description = "attention of all prompt queries (H2O)",
          .parameters = parameters,
          .settings = settings,
          .make = [](const Parameters& given) { return std::make_unique<AttentionMassScorer>(given); }};
}

}  // namespace evictlab::sim
