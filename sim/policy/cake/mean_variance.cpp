// CAKE's eviction indicator (Qin et al. 2025, arXiv:2503.12491; antgroup/cakekv@c4675ce): what the last w prompt
// queries attend to on average, and how much their attention to it changes. With A_h the softmax over all n positions
//
//   I_h[j] = mean_t A_h[t, j] + gamma * var_t A_h[t, j]    t in the window, j < n - w, variance with divisor w - 1
//   I_h    = average over `kernel` neighbours              (zero padding counts)
//   I_g[j] = mean over the set's query heads of I_h[j]
//
// Variances are taken per query head: those of a group's mean would be others.

#include <fmt/format.h>

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "sim/policy/parts.hpp"
#include "sim/policy/pooling.hpp"

namespace evictlab::sim {
namespace {

class MeanVarianceScorer final : public Scorer {
 public:
  explicit MeanVarianceScorer(const MeanVarianceScoring& scoring) : scoring_(scoring) {}

  std::string identity() const override {
    return fmt::format("mean-variance(window={},kernel={},gamma={},granularity={})", scoring_.window, scoring_.kernel,
                       scoring_.gamma, granularity_name(scoring_.granularity));
  }
  Needs needs() const override { return {trace::Field::kWindowAttention, scoring_.window, false}; }
  Granularity granularity() const override { return scoring_.granularity; }
  Index unscored_tail() const override { return scoring_.window; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index first = layer.shape.first_visible();
    const Index count = layer.shape.prompt_length - scoring_.window - first;
    if (count <= 0) return;
    const Index heads_per_set = layer.shape.query_heads / scores.rows();
    core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t index) {
      const auto set = static_cast<Index>(index);
      const auto indicator = reduced(heads_per_set, Reduction::kMean, [&](Index i) {
        const auto moments =
            analysis::window_moments(layer.window_attention, set * heads_per_set + i, scoring_.window, first, count);
        return pooled(moments.mean + scoring_.gamma * moments.variance, scoring_.kernel, Pooling::kAverage);
      });
      scores.row(set).segment(first, count) = indicator.cast<float>();
    });
  }

 private:
  MeanVarianceScoring scoring_;
};

}  // namespace

std::shared_ptr<const Scorer> mean_variance_scorer(const MeanVarianceScoring& scoring) {
  return std::make_shared<MeanVarianceScorer>(scoring);
}

}  // namespace evictlab::sim
