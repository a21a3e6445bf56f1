// WindowKV's score (Zuo et al. 2025, arXiv:2503.17922; optim996/WindowKV@7513467): the last s queries judge blocks of
// positions, for all heads of the layer together. With t_h[j] = sum over these queries of A_h[., j], j < n - s, a block
// is worth
//
//   average   the mean of t_h[j] over all heads and its positions
//   max       the mean over all heads and, of each head, its `top` largest t_h[j]
//
// Every position of a block gets the block's score. A short last block counts the positions it has.

#include <algorithm>

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kBlockPositionsOfTask = 4096;

class WindowBlocksScorer final : public Scorer {
 public:
  explicit WindowBlocksScorer(const Parameters& given)
      : window_(given.integer("window")), block_(given.integer("block")), top_(given.integer("top")) {}

  Needs needs() const override { return {trace::Field::kWindowAttention, window_, false}; }
  Granularity granularity() const override { return Granularity::kLayer; }
  Index unscored_tail() const override { return window_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index first = layer.shape.first_visible();
    const Index end = layer.shape.prompt_length - window_;
    if (end <= first) return;
    const Index first_block = first / block_;
    const Index blocks = (end - 1) / block_ + 1 - first_block;
    const Index blocks_of_task = std::max<Index>(1, kBlockPositionsOfTask / block_);
    core::parallel_for(static_cast<std::size_t>((blocks - 1) / blocks_of_task + 1), [&](std::size_t task) {
      const Index begin = first_block + static_cast<Index>(task) * blocks_of_task;
      score_blocks(layer, begin, std::min(blocks_of_task, first_block + blocks - begin), scores);
    });
  }

 private:
  // Columns are the elements of `count` blocks from `begin` on. Positions out of sight count as zeros, which are
  // no larger than any weight.
  void score_blocks(const trace::LayerView& layer, Index begin, Index count, trace::RowMatrix& scores) const {
    const Index size = block_;
    const Index first = std::max(layer.shape.first_visible(), begin * size);
    const Index end = std::min(layer.shape.prompt_length - window_, (begin + count) * size);
    Eigen::ArrayXXd sums(size, count);
    Eigen::ArrayXd worth = Eigen::ArrayXd::Zero(count);
    for (Index head = 0; head < layer.shape.query_heads; ++head) {
      sums.setZero();
      analysis::add_window_sums(layer.window_attention, head, window_, first,
                                {sums.data() + (first - begin * size), static_cast<std::size_t>(end - first)});
      worth += worth_of(sums);
    }
    for (Index block = 0; block < count; ++block) {
      const Index from = std::max(first, (begin + block) * size);
      const Index positions = std::min(end, (begin + block + 1) * size) - from;
      const Index values = (top_ > 0 ? std::min(top_, positions) : positions) * layer.shape.query_heads;
      scores.row(0)
          .segment(from, positions)
          .setConstant(static_cast<float>(worth[block] / static_cast<double>(values)));
    }
  }

  // Per column: the sum of its values, or of its `top` largest in falling order.
  Eigen::ArrayXd worth_of(const Eigen::ArrayXXd& sums) const {
    if (top_ == 0 || top_ >= sums.rows()) return sums.colwise().sum().transpose();
    // Insertion sort for all columns at once: each value goes down the list past those that are larger.
    Eigen::ArrayXXd largest = Eigen::ArrayXXd::Zero(sums.cols(), top_);
    Eigen::ArrayXd value(sums.cols());
    Eigen::ArrayXd smaller(sums.cols());
    for (Index i = 0; i < sums.rows(); ++i) {
      value = sums.row(i).transpose();
      for (Index k = 0; k < top_; ++k) {
        smaller = value.min(largest.col(k));
        largest.col(k) = value.max(largest.col(k));
        value.swap(smaller);
      }
    }
    return largest.rowwise().sum();
  }

  Index window_;  // the last queries; their own positions are not scored
  Index block_;
  Index top_;  // largest values of a block and head that count; 0: all
};

}  // namespace

ScorerDefinition window_blocks_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(32))
      .integer("block", 8, {1, 4096}, "positions of a block")
      .integer("top", 4, {0, 4096}, "largest values of a block and head that count; 0: all");
  return {.description = "what the last prompt queries attend to, by blocks, one set per layer (WindowKV)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<WindowBlocksScorer>(given); }};
}

}  // namespace evictlab::sim
