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
#include <functional>

#include "sim/parts.hpp"

namespace evictlab::sim {
namespace {

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
    std::vector<double> worth(static_cast<std::size_t>((end - 1) / scoring_.block + 1), 0.0);
    Eigen::RowVectorXf row(end);
    Eigen::RowVectorXd sums(end);
    std::vector<double> largest;
    for (Index head = 0; head < layer.shape.query_heads; ++head) {
      sum_rows(layer.window_attention, head, row, sums);
      for (Index begin = first; begin < end; begin = next(begin, end)) {
        const auto block = sums.segment(begin, next(begin, end) - begin);
        worth[static_cast<std::size_t>(begin / scoring_.block)] += worth_of(block, largest);
      }
    }
    for (Index begin = first; begin < end; begin = next(begin, end)) {
      const Index count = next(begin, end) - begin;
      const Index values = (scoring_.top > 0 ? std::min(scoring_.top, count) : count) * layer.shape.query_heads;
      const double score = worth[static_cast<std::size_t>(begin / scoring_.block)] / static_cast<double>(values);
      scores.row(0).segment(begin, count).setConstant(static_cast<float>(score));
    }
  }

 private:
  Index next(Index begin, Index end) const { return std::min(end, (begin / scoring_.block + 1) * scoring_.block); }

  void sum_rows(const trace::TensorView& attention, Index head, Eigen::RowVectorXf& row,
                Eigen::RowVectorXd& sums) const {
    const trace::TensorView rows =
        attention.row_range(attention.rows() - scoring_.window, scoring_.window).column_range(0, sums.size());
    sums.setZero();
    for (Index t = 0; t < scoring_.window; ++t) {
      rows.copy_row(head, t, {row.data(), static_cast<std::size_t>(row.size())});
      sums += row.cast<double>();
    }
  }

  // The sum of the block's values, or of its `top` largest.
  template <typename Block>
  double worth_of(const Block& block, std::vector<double>& largest) const {
    if (scoring_.top == 0) return block.sum();
    largest.assign(block.begin(), block.end());
    const auto count = std::min<std::size_t>(static_cast<std::size_t>(scoring_.top), largest.size());
    std::partial_sort(largest.begin(), largest.begin() + static_cast<std::ptrdiff_t>(count), largest.end(),
                      std::greater<>());
    double sum = 0.0;
    for (std::size_t i = 0; i < count; ++i) sum += largest[i];
    return sum;
  }

  WindowBlockScoring scoring_;
};

}  // namespace

std::shared_ptr<const Scorer> window_blocks_scorer(const WindowBlockScoring& scoring) {
  return std::make_shared<WindowBlocksScorer>(scoring);
}

}  // namespace evictlab::sim
