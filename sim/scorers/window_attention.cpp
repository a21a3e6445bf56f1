// SnapKV's score (Li et al. 2024, arXiv:2404.14469, section 4): the last w prompt queries vote for the
// positions before them. With A_h the softmax over all n positions, m = n - w scorable ones, and per kv head
//
//   a_h[j] = (1/w) sum_{t in window} A_h[t, j]            j < m
//   s_g[j] = mean | max | sum over the group's heads of a_h[j]
//   score  = pool_k(s_g)                                  stride 1, k/2 padding on both sides
//
// Average pooling counts its zero padding (the divisor is always k), as torch.avg_pool1d does, so scores at
// both ends are damped; max pooling's padding never wins. Heads are reduced before pooling as in
// FFY0/AdaKV and KVCache-Factory; NVIDIA/kvpress pools first, which differs for max pooling with mean, and scores
// the window's own positions max + 1 instead of leaving them out of the competition.
// In a layer with a sliding window only visible positions take part.

#include <fmt/format.h>

#include <algorithm>

#include "sim/parts.hpp"
#include "sim/pooling.hpp"

namespace evictlab::sim {
namespace {

using DoubleRow = Eigen::RowVectorXd;

// a_h over the columns [first, first + count), averaged over the last `window` rows.
DoubleRow window_mean(const trace::TensorView& attention, Index head, Index window, Index first, Index count) {
  const trace::TensorView rows = attention.row_range(attention.rows() - window, window).column_range(first, count);
  Eigen::RowVectorXf row(count);
  DoubleRow sum = DoubleRow::Zero(count);
  for (Index t = 0; t < window; ++t) {
    rows.copy_row(head, t, {row.data(), static_cast<std::size_t>(count)});
    sum += row.cast<double>();
  }
  return sum / static_cast<double>(window);
}

class WindowAttentionScorer final : public Scorer {
 public:
  explicit WindowAttentionScorer(const WindowScoring& scoring) : scoring_(scoring) {}

  std::string identity() const override {
    return fmt::format("window-attention(window={},kernel={},pooling={},order={},reduction={},granularity={},tail={})",
                       scoring_.window, scoring_.kernel, static_cast<int>(scoring_.pooling),
                       scoring_.pool_first ? "pool-first" : "reduce-first", static_cast<int>(scoring_.reduction),
                       granularity_name(scoring_.granularity), scoring_.score_window);
  }
  Needs needs() const override { return {trace::Field::kWindowAttention, scoring_.window, false}; }
  Granularity granularity() const override { return scoring_.granularity; }
  Index unscored_tail() const override { return scoring_.score_window ? 0 : scoring_.window; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const trace::LayerShape& shape = layer.shape;
    const Index first = shape.first_visible();
    const Index count = shape.prompt_length - scoring_.window - first;
    const Index heads_per_set = shape.query_heads / scores.rows();
    std::vector<DoubleRow> votes(static_cast<std::size_t>(heads_per_set));
    for (Index set = 0; set < scores.rows(); ++set) {
      for (Index i = 0; i < heads_per_set && count > 0; ++i) {
        DoubleRow& vote = votes[static_cast<std::size_t>(i)];
        vote = window_mean(layer.window_attention, set * heads_per_set + i, scoring_.window, first, count);
        if (scoring_.pool_first) vote = pooled(vote, scoring_.kernel, scoring_.pooling);
      }
      if (count <= 0) continue;
      DoubleRow score = reduced(votes, scoring_.reduction);
      if (!scoring_.pool_first) score = pooled(score, scoring_.kernel, scoring_.pooling);
      scores.row(set).segment(first, count) = score.cast<float>();
    }
    if (!scoring_.score_window) return;
    const float best = count > 0 ? scores.middleCols(first, count).maxCoeff() : 0.0F;
    scores.rightCols(shape.prompt_length - std::max(first, first + count)).setConstant(best + 1.0F);
  }

 private:
  WindowScoring scoring_;
};

}  // namespace

std::shared_ptr<const Scorer> window_attention_scorer(const WindowScoring& scoring) {
  return std::make_shared<WindowAttentionScorer>(scoring);
}

}  // namespace evictlab::sim
