// LagKV (Liang et al. 2025, arXiv:2504.04704, equations 1-5): each block of `lag` positions is judged by the next one.
// With per-channel minimum and maximum over the next block,
//
//   x = (k - min) / (max - min),   u[j] = standard deviation of x_j over the channels (divisor d - 1)
//   s[j] = ( softmax_block(u of keys) + softmax_block(u of values) ) / 2
//
// replaced by its rank inside the block / lag unless blocks compete directly. The sinks, the last whole block and what
// is left after it score 1. A prompt shorter than sinks + 2 lag keeps sinks and the most recent. As in NVIDIA/kvpress;
// ranks repeat in every block, so ties between blocks are the rule.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "sim/policy/parts.hpp"

namespace evictlab::sim {
namespace {

using Array = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// softmax over the block's positions of how far their channels are spread, in units of the next block.
Eigen::ArrayXd relative_spread(const Array& block, const Array& next) {
  const Eigen::Array<double, 1, Eigen::Dynamic> low = next.colwise().minCoeff();
  const Eigen::Array<double, 1, Eigen::Dynamic> range = next.colwise().maxCoeff() - low;
  const Array scaled = (block.rowwise() - low).rowwise() / range;
  const Eigen::ArrayXd mean = scaled.rowwise().mean();
  const Eigen::ArrayXd square = (scaled.colwise() - mean).square().rowwise().sum();
  const Eigen::ArrayXd spread = (square / static_cast<double>(block.cols() - 1)).sqrt();
  const Eigen::ArrayXd weight = (spread - spread.maxCoeff()).exp();
  return weight / weight.sum();
}

void replace_by_ranks(Eigen::ArrayXd& values) {
  std::vector<Index> order(static_cast<std::size_t>(values.size()));
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return values[a] < values[b]; });
  Eigen::ArrayXd ranks(values.size());
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    ranks[order[rank]] = static_cast<double>(rank) / static_cast<double>(values.size());
  }
  values = ranks;
}

class LagScorer final : public Scorer {
 public:
  explicit LagScorer(const LagScoring& scoring) : scoring_(scoring) {}

  std::string identity() const override {
    return fmt::format("lag(sinks={},lag={},cross={})", scoring_.sinks, scoring_.lag, scoring_.cross);
  }
  Needs needs() const override { return {trace::Field::kKeys | trace::Field::kValues, 0, false}; }
  Granularity granularity() const override { return Granularity::kKvHead; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index first = layer.shape.first_visible();
    const Index count = layer.shape.prompt_length - first;
    for (Index head = 0; head < scores.rows(); ++head) {
      auto row = scores.row(head).segment(first, count);
      row.setOnes();
      const Index after_sinks = count - scoring_.sinks;
      if (after_sinks < 2 * scoring_.lag) {
        for (Index j = 0; j < after_sinks; ++j) {
          row[scoring_.sinks + j] = static_cast<float>(static_cast<double>(j) / static_cast<double>(after_sinks));
        }
        continue;
      }
      const auto part = [&](const trace::TensorView& view, Index begin) -> Array {
        return view.row_range(first + begin, scoring_.lag).copy_head(head).cast<double>().array();
      };
      for (Index block = 0; block + 1 < after_sinks / scoring_.lag; ++block) {
        const Index begin = scoring_.sinks + block * scoring_.lag;
        const Index next = begin + scoring_.lag;
        Eigen::ArrayXd score = (relative_spread(part(layer.keys, begin), part(layer.keys, next)) +
                                relative_spread(part(layer.values, begin), part(layer.values, next))) /
                               2.0;
        if (!scoring_.cross) replace_by_ranks(score);
        row.segment(begin, scoring_.lag) = score.transpose().cast<float>().matrix();
      }
    }
  }

 private:
  LagScoring scoring_;
};

}  // namespace

std::shared_ptr<const Scorer> lag_scorer(const LagScoring& scoring) { return std::make_shared<LagScorer>(scoring); }

}  // namespace evictlab::sim
