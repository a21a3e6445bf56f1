// WindowKV's score (Zuo et al. 2025, arXiv:2503.17922; optim996/WindowKV@7513467): the last s queries judge blocks of
// positions, for all heads of the layer together. With t_h[j] = sum over these queries of A_h[., j], j < n - s, a block
// is worth
//
//   average   the mean of t_h[j] over all heads and its positions
//   max       the mean over all heads and, of each head, its `top` largest t_h[j]
//
// Every position of a block gets the block's score. A short last block counts the positions it has.

#include <fmt/format.h>

#include <algorithm>

#include "analysis/window_statistics.hpp"
#include "core/parallel.hpp"
#include "sim/policy/parts.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kPositionsOfTask = 4096;

class WindowBlocksScorer final : public Scorer {
 public:
  explicit WindowBlocksScorer(const WindowBlockScoring& scoring) : scoring_(scoring) {}

  std::string identity() const override {
    return fmt::format("window-blocks(window={},block={},top={})", scoring_.window, scoring_.block, scoring_.top);
  }
  Needs needs() const override { return {trace::Field::kWindowAttention, scoring_.window, false}; }
  Granularity granularity() const override { return Granularity::kLayer; }
  Index unscored_tail() const override { return scoring_.window; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index first = layer.shape.first_visible();
    const Index end = layer.shape.prompt_length - scoring_.window;
    if (end <= first) return;
    const Index first_block = first / scoring_.block;
    const Index blocks = (end - 1) / scoring_.block + 1 - first_block;
    const Index blocks_of_task = std::max<Index>(1, kPositionsOfTask / scoring_.block);
    core::parallel_for(static_cast<std::size_t>((blocks - 1) / blocks_of_task + 1), [&](std::size_t task) {
      const Index begin = first_block + static_cast<Index>(task) * blocks_of_task;
      score_blocks(layer, begin, std::min(blocks_of_task, first_block + blocks - begin), scores);
    });
  }

 private:
  // Columns are the elements of `count` blocks from `begin` on. Positions out of sight count as zeros, which are
  // no larger than any weight.
  void score_blocks(const trace::LayerView& layer, Index begin, Index count, trace::RowMatrix& scores) const {
    const Index size = scoring_.block;
    const Index first = std::max(layer.shape.first_visible(), begin * size);
    const Index end = std::min(layer.shape.prompt_length - scoring_.window, (begin + count) * size);
    Eigen::ArrayXXd sums(size, count);
    Eigen::ArrayXd worth = Eigen::ArrayXd::Zero(count);
    for (Index head = 0; head < layer.shape.query_heads; ++head) {
      sums.setZero();
      analysis::add_window_sums(layer.window_attention, head, scoring_.window, first,
                                {sums.data() + (first - begin * size), static_cast<std::size_t>(end - first)});
      worth += worth_of(sums);
    }
    for (Index block = 0; block < count; ++block) {
      const Index from = std::max(first, (begin + block) * size);
      const Index positions = std::min(end, (begin + block + 1) * size) - from;
      const Index values = (scoring_.top > 0 ? std::min(scoring_.top, positions) : positions) * layer.shape.query_heads;
      scores.row(0)
          .segment(from, positions)
          .setConstant(static_cast<float>(worth[block] / static_cast<double>(values)));
    }
  }

  // Per column: the sum of its values, or of its `top` largest in falling order.
  Eigen::ArrayXd worth_of(const Eigen::ArrayXXd& sums) const {
    if (scoring_.top == 0 || scoring_.top >= sums.rows()) return sums.colwise().sum().transpose();
    // Insertion sort for all columns at once: each value goes down the list past those that are larger.
    Eigen::ArrayXXd largest = Eigen::ArrayXXd::Zero(sums.cols(), scoring_.top);
    Eigen::ArrayXd value(sums.cols());
    Eigen::ArrayXd smaller(sums.cols());
    for (Index i = 0; i < sums.rows(); ++i) {
      value = sums.row(i).transpose();
      for (Index k = 0; k < scoring_.top; ++k) {
        smaller = value.min(largest.col(k));
        largest.col(k) = value.max(largest.col(k));
        value.swap(smaller);
      }
    }
    return largest.rowwise().sum();
  }

  WindowBlockScoring scoring_;
};

}  // namespace

std::shared_ptr<const Scorer> window_blocks_scorer(const WindowBlockScoring& scoring) {
  return std::make_shared<WindowBlocksScorer>(scoring);
}

}  // namespace evictlab::sim
