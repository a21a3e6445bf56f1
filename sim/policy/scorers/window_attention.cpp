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
// LAVa multiplies a head's votes by the largest || v_i ||_1 of its kv head, over the m positions (or all n in the
// paper). In a layer with a sliding window only visible positions take part.

#include <algorithm>
#include <string>

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/pooling.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kWindowPositionsOfTask = 8192;

class WindowAttentionScorer final : public Scorer {
 public:
  explicit WindowAttentionScorer(const Parameters& given)
      : window_(given.integer("window")),
        kernel_(given.integer("kernel")),
        pooling_(pooling_from(given)),
        pool_first_(given.choice("order") == "pool-first"),
        reduction_(reduction_from(given)),
        granularity_(granularity_from(given)),
        score_window_(is_yes(given, "score_window")),
        value_norms_(given.choice("value_norms")) {}

  Needs needs() const override {
    trace::Fields fields = trace::Field::kWindowAttention;
    if (value_norms_ != "none") fields |= trace::Field::kValues;
    return {fields, window_, false};
  }
  Granularity granularity() const override { return granularity_; }
  Index unscored_tail() const override { return score_window_ ? 0 : window_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const trace::LayerShape& shape = layer.shape;
    const Index first = shape.first_visible();
    const Index count = shape.prompt_length - window_ - first;
    const Index heads = shape.query_heads / scores.rows();
    const Index averaged = window_ * (reduction_ == Reduction::kMean ? heads : 1);
    core::parallel_for(static_cast<std::size_t>(count > 0 ? scores.rows() : 0), [&](std::size_t index) {
      const auto set = static_cast<Index>(index);
      const Eigen::RowVectorXd sums = pooled_sums(layer.window_attention, set * heads, heads, first, count);
      const double weight = value_norms_ == "none" ? 1.0 : largest_value_norm(layer, set * heads, first, count);
      scores.row(set).segment(first, count) = (sums / static_cast<double>(averaged) * weight).cast<float>();
    });
    if (!score_window_) return;
    const float best = count > 0 ? scores.middleCols(first, count).maxCoeff() : 0.0F;
    scores.rightCols(shape.prompt_length - std::max(first, first + count)).setConstant(best + 1.0F);
  }

 private:
  double largest_value_norm(const trace::LayerView& layer, Index query_head, Index first, Index count) const {
    const Index positions = value_norms_ == "all" ? layer.shape.prompt_length - first : count;
    const Index head = layer.shape.kv_head_of(query_head);
    Eigen::RowVectorXf value(layer.values.columns());
    double largest = 0.0;
    for (Index j = first; j < first + positions; ++j) {
      layer.values.copy_row(head, j, {value.data(), static_cast<std::size_t>(value.size())});
      largest = std::max(largest, value.cast<double>().lpNorm<1>());
    }
    return largest;
  }

  // The scores of a set but for what they are averaged over, which neither pooling nor reducing minds.
  Eigen::RowVectorXd pooled_sums(const trace::TensorView& attention, Index first_head, Index heads, Index first,
                                 Index count) const {
    if (!pool_first_ && reduction_ != Reduction::kMax) {
      return pooled(sum_of_heads(attention, first_head, heads, first, count), kernel_, pooling_);
    }
    const Reduction reduction = reduction_ == Reduction::kMax ? Reduction::kMax : Reduction::kSum;
    const Eigen::RowVectorXd votes = reduced(heads, reduction, [&](Index i) {
      const Eigen::RowVectorXd sums = sum_of_heads(attention, first_head + i, 1, first, count);
      return pool_first_ ? pooled(sums, kernel_, pooling_) : sums;
    });
    return pool_first_ ? votes : pooled(votes, kernel_, pooling_);
  }

  // Over the window's rows of successive heads; threads share the positions.
  Eigen::RowVectorXd sum_of_heads(const trace::TensorView& attention, Index first_head, Index heads, Index first,
                                  Index count) const {
    Eigen::RowVectorXd sums = Eigen::RowVectorXd::Zero(count);
    core::parallel_for(static_cast<std::size_t>((count - 1) / kWindowPositionsOfTask + 1), [&](std::size_t task) {
      const Index begin = static_cast<Index>(task) * kWindowPositionsOfTask;
      const Index positions = std::min(kWindowPositionsOfTask, count - begin);
      for (Index head = first_head; head < first_head + heads; ++head) {
        analysis::add_window_sums(attention, head, window_, first + begin,
                                  {sums.data() + begin, static_cast<std::size_t>(positions)});
      }
    });
    return sums;
  }

  Index window_;  // the last queries; their own positions are not scored
  Index kernel_;
  Pooling pooling_;
  bool pool_first_;      // pools each query head before reducing; else reduces first
  Reduction reduction_;  // over the query heads of a kv head; not used per query head
  Granularity granularity_;
  bool score_window_;
  std::string value_norms_;
};

}  // namespace

ScorerDefinition window_attention_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(32))
      .add(pooling_parameters())
      .choice("order", {"reduce-first", "pool-first"}, "whether heads are reduced before or after pooling")
      .add(reduction_parameter())
      .add(axis_parameter());
  ParameterList settings;
  settings.add(yes_no_parameter("score_window", false, "score the window's own positions one more than the best"))
      .choice("value_norms", {"none", "prefix", "all"}, "positions whose largest value norm weighs a head");
  return {.description = "attention of the last prompt queries, pooled (SnapKV)",
          .parameters = parameters,
          .settings = settings,
          .make = [](const Parameters& given) { return std::make_unique<WindowAttentionScorer>(given); }};
}

}  // namespace evictlab::sim
