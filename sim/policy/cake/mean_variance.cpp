// CAKE's eviction indicator (Qin et al. 2025, arXiv:2503.12491; antgroup/cakekv@c4675ce): what the last w prompt
// queries attend to on average, and how much their attention to it changes. With A_h the softmax over all n positions
//
//   I_h[j] = mean_t A_h[t, j] + gamma * var_t A_h[t, j]    t in the window, j < n - w, variance with divisor w - 1
//   I_h    = average over `kernel` neighbours              (zero padding counts)
//   I_g[j] = mean over the set's query heads of I_h[j]
//
// Variances are taken per query head: those of a group's mean would be others.

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/pooling.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

class MeanVarianceScorer final : public Scorer {
 public:
  explicit MeanVarianceScorer(const Parameters& given)
      : window_(given.integer("window")), kernel_(given.integer("kernel")), gamma_(given.number("gamma")) {}

  Needs needs() const override { return {trace::Field::kWindowAttention, window_, false}; }
  Granularity granularity() const override { return Granularity::kKvHead; }
  Index unscored_tail() const override { return window_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index first = layer.shape.first_visible();
    const Index count = layer.shape.prompt_length - window_ - first;
    if (count <= 0) return;
    const Index heads_per_set = layer.shape.query_heads / scores.rows();
    core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t index) {
      const auto set = static_cast<Index>(index);
      const auto indicator = reduced(heads_per_set, Reduction::kMean, [&](Index i) {
        const auto moments =
            analysis::window_moments(layer.window_attention, set * heads_per_set + i, window_, first, count);
        return pooled(moments.mean + gamma_ * moments.variance, kernel_, Pooling::kAverage);
      });
      scores.row(set).segment(first, count) = indicator.cast<float>();
    });
  }

 private:
  Index window_;  // one query has no variance
  Index kernel_;
  double gamma_;
};

}  // namespace

ScorerDefinition mean_variance_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(32, 2))
      .integer("kernel", 5, {1, 255, true}, "positions averaged over")
      .number("gamma", 200.0, {0.0, 1e6}, "weight of the variance over the window");
  return {.description = "mean and variance of what the last prompt queries attend to (CAKE)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<MeanVarianceScorer>(given); }};
}

}  // namespace evictlab::sim
