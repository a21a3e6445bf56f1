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

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "sim/policy/parts.hpp"
#include "sim/policy/pooling.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kPositionsOfTask = 8192;

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
    const Index heads = shape.query_heads / scores.rows();
    const Index averaged = scoring_.window * (scoring_.reduction == Reduction::kMean ? heads : 1);
    core::parallel_for(static_cast<std::size_t>(count > 0 ? scores.rows() : 0), [&](std::size_t index) {
      const auto set = static_cast<Index>(index);
      const Eigen::RowVectorXd sums = pooled_sums(layer.window_attention, set * heads, heads, first, count);
      scores.row(set).segment(first, count) = (sums / static_cast<double>(averaged)).cast<float>();
    });
    if (!scoring_.score_window) return;
    const float best = count > 0 ? scores.middleCols(first, count).maxCoeff() : 0.0F;
    scores.rightCols(shape.prompt_length - std::max(first, first + count)).setConstant(best + 1.0F);
  }

 private:
  // The scores of a set but for what they are averaged over, which neither pooling nor reducing minds.
  Eigen::RowVectorXd pooled_sums(const trace::TensorView& attention, Index first_head, Index heads, Index first,
                                 Index count) const {
    if (!scoring_.pool_first && scoring_.reduction != Reduction::kMax) {
      return pooled(sum_of_heads(attention, first_head, heads, first, count), scoring_.kernel, scoring_.pooling);
    }
    const Reduction reduction = scoring_.reduction == Reduction::kMax ? Reduction::kMax : Reduction::kSum;
    const Eigen::RowVectorXd votes = reduced(heads, reduction, [&](Index i) {
      const Eigen::RowVectorXd sums = sum_of_heads(attention, first_head + i, 1, first, count);
      return scoring_.pool_first ? pooled(sums, scoring_.kernel, scoring_.pooling) : sums;
    });
    return scoring_.pool_first ? votes : pooled(votes, scoring_.kernel, scoring_.pooling);
  }

  // Over the window's rows of successive heads; threads share the positions.
  Eigen::RowVectorXd sum_of_heads(const trace::TensorView& attention, Index first_head, Index heads, Index first,
                                  Index count) const {
    Eigen::RowVectorXd sums = Eigen::RowVectorXd::Zero(count);
    core::parallel_for(static_cast<std::size_t>((count - 1) / kPositionsOfTask + 1), [&](std::size_t task) {
      const Index begin = static_cast<Index>(task) * kPositionsOfTask;
      const Index positions = std::min(kPositionsOfTask, count - begin);
      for (Index head = first_head; head < first_head + heads; ++head) {
        analysis::add_window_sums(attention, head, scoring_.window, first + begin,
                                  {sums.data() + begin, static_cast<std::size_t>(positions)});
      }
    });
    return sums;
  }

  WindowScoring scoring_;
};

}  // namespace

std::shared_ptr<const Scorer> window_attention_scorer(const WindowScoring& scoring) {
  return std::make_shared<WindowAttentionScorer>(scoring);
}

}  // namespace evictlab::sim
