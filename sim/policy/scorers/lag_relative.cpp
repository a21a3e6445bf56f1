// LagKV (Liang et al. 2025, arXiv:2504.04704, equations 1-5): each block of `lag` positions is judged by the next one.
// With per-channel minimum and maximum over the next block,
//
//   x = (k - min) / (max - min),   u[j] = standard deviation of x_j over the channels (divisor d - 1)
//   s[j] = ( softmax_block(u of keys) + softmax_block(u of values) ) / 2
//
// replaced by its rank inside the block / lag unless blocks compete directly. The sinks, the last whole block and what
// is left after it score 1. A prompt shorter than sinks + 2 lag keeps sinks and the most recent. As in NVIDIA/kvpress;
// ranks repeat in every block, so ties between blocks are the rule.

#include <algorithm>
#include <numeric>

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

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
  explicit LagScorer(const Parameters& given)
      : sinks_(given.integer("sinks")), lag_(given.integer("lag")), cross_(is_yes(given, "cross")) {}

  Needs needs() const override { return {trace::Field::kKeys | trace::Field::kValues, 0, false}; }
  Granularity granularity() const override { return Granularity::kKvHead; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index first = layer.shape.first_visible();
    const Index count = layer.shape.prompt_length - first;
    for (Index head = 0; head < scores.rows(); ++head) {
      auto row = scores.row(head).segment(first, count);
      row.setOnes();
      const Index after_sinks = count - sinks_;
      if (after_sinks < 2 * lag_) {
        for (Index j = 0; j < after_sinks; ++j) {
          row[sinks_ + j] = static_cast<float>(static_cast<double>(j) / static_cast<double>(after_sinks));
        }
        continue;
      }
      const auto part = [&](const trace::TensorView& view, Index begin) -> Array {
        return view.row_range(first + begin, lag_).copy_head(head).cast<double>().array();
      };
      for (Index block = 0; block + 1 < after_sinks / lag_; ++block) {
        const Index begin = sinks_ + block * lag_;
        const Index next = begin + lag_;
        Eigen::ArrayXd score = (relative_spread(part(layer.keys, begin), part(layer.keys, next)) +
                                relative_spread(part(layer.values, begin), part(layer.values, next))) /
                               2.0;
        if (!cross_) replace_by_ranks(score);
        row.segment(begin, lag_) = score.transpose().cast<float>().matrix();
      }
    }
  }

 private:
  Index sinks_;
  Index lag_;   // positions of a block
  bool cross_;  // blocks compete by score; else each ranks its own positions
};

}  // namespace

ScorerDefinition lag_scorer() {
  ParameterList parameters;
  parameters.integer("sinks", 4, {0, kMaxPositions}, "first positions, which score highest")
      .integer("lag", 128, {2, kMaxPositions}, "positions of a block")
      .add(yes_no_parameter("cross", false, "whether blocks compete by score; else each ranks its own positions"));
  return {.description = "relative to the next block (LagKV)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<LagScorer>(given); }};
}

}  // namespace evictlab::sim
