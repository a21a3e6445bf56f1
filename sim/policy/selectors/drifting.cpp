// ReST-KV's smoothing over positions (arXiv:2605.08840, an-yongqi/rest-kv@a8bb112), which depends on the budget. Per
// kept set with k = capacity - protected positions,
//
//   D     = mean index of the k largest weights of each query of the window's older half, less that of its newer half
//   ker   = max(kernel, 2 floor(|D| / scale) + 1),   shift = D > 0 ? floor(D / scale) : floor(D / scale) + 1
//   score = mean of s[i - ker/2 + shift .. i + ker/2 + shift], continued by its border values
//
// The weights are those of all visible positions, the window's own included; of equal ones the higher index counts as
// larger. So a set whose best positions do not move at all (D = 0) is shifted by one, and with |D| < scale, always on
// prompts shorter than that, this is averaging that repeats the border.

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.hpp"
#include "core/select.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"
#include "sim/policy/selector.hpp"

namespace evictlab::sim {
namespace {

// D for every k: the element behind k - 1 others from the first visible position on.
class WindowDriftScorer final : public Scorer {
 public:
  explicit WindowDriftScorer(const Parameters& given)
      : window_(given.integer("window")), granularity_(granularity_from(given)) {}

  Needs needs() const override { return {trace::Field::kWindowAttention, window_, false}; }
  Granularity granularity() const override { return granularity_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index first = layer.shape.first_visible();
    const Index count = layer.shape.prompt_length - first;
    const Index heads = layer.shape.query_heads / scores.rows();
    core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t index) {
      const auto set = static_cast<Index>(index);
      Eigen::RowVectorXd drift = Eigen::RowVectorXd::Zero(count);
      for (Index i = 0; i < heads; ++i) add_drift(layer, set * heads + i, first, drift);
      scores.row(set).segment(first, count) = (drift / static_cast<double>(heads)).cast<float>();
    });
  }

 private:
  void add_drift(const trace::LayerView& layer, Index query_head, Index first, Eigen::RowVectorXd& drift) const {
    const Index count = drift.size();
    const Index older = window_ / 2;
    const trace::TensorView rows =
        layer.window_attention.row_range(layer.window_attention.rows() - window_, window_).column_range(first, count);
    std::vector<float> row(static_cast<std::size_t>(count));
    for (Index t = 0; t < window_; ++t) {
      rows.copy_row(query_head, t, row);
      std::ranges::reverse(row);  // for the order of equal weights
      const double share = t < older ? 1.0 / static_cast<double>(older) : -1.0 / static_cast<double>(window_ - older);
      double sum = 0.0;
      Index k = 0;
      for (const std::uint32_t index : core::argsort_descending(row)) {
        sum += static_cast<double>(count - 1 - static_cast<Index>(index));
        drift[k] += share * sum / static_cast<double>(k + 1);
        ++k;
      }
    }
  }

  Index window_;
  Granularity granularity_;
};

class DriftingSelector final : public Selector {
 public:
  DriftingSelector(Index kernel, double scale) : kernel_(kernel), scale_(scale) {}

  bool ranking_depends_on_budget() const override { return true; }
  bool ranking_depends_on_own_budget() const override { return false; }
  bool needs_refinement() const override { return true; }

  std::vector<std::int32_t> rank(const RankRequest& request) const override {
    const PositionRanges& ranges = request.ranges;
    if (ranges.candidates() == 0) return {};
    const Index k =
        std::clamp<Index>(static_cast<Index>(request.capacity) - ranges.protected_count(), 1, ranges.visible());
    const auto drift = static_cast<double>((*request.importance.refinement)(request.set, ranges.first_visible + k - 1));
    const std::vector<float> smooth = smoothed(
        request.importance.scores->row(request.set).segment(ranges.candidates_begin, ranges.candidates()), drift);
    std::vector<std::int32_t> ranked;
    for (const std::uint32_t index : core::top_ranked(smooth, static_cast<std::size_t>(request.ceiling))) {
      ranked.push_back(static_cast<std::int32_t>(ranges.candidates_begin + index));
    }
    return ranked;
  }

  Index prefix(std::span<const std::int32_t> ranked, const PositionRanges& /*ranges*/, Index slots) const override {
    return std::min(slots, static_cast<Index>(ranked.size()));
  }

 private:
  template <typename Row>
  std::vector<float> smoothed(const Row& scores, double drift) const {
    const Index count = scores.size();
    const Index kernel = std::max(kernel_, 2 * static_cast<Index>(std::floor(std::abs(drift) / scale_)) + 1);
    const Index shift = static_cast<Index>(std::floor(drift / scale_)) + (drift > 0.0 ? 0 : 1);
    Eigen::RowVectorXd continued(count + kernel - 1);
    for (Index i = 0; i < continued.size(); ++i) {
      continued[i] = static_cast<double>(scores[std::clamp<Index>(i - kernel / 2 + shift, 0, count - 1)]);
    }
    Eigen::RowVectorXd sum = continued.head(count);
    for (Index i = 1; i < kernel; ++i) sum += continued.segment(i, count);
    std::vector<float> result(static_cast<std::size_t>(count));
    for (Index i = 0; i < count; ++i) {
      result[static_cast<std::size_t>(i)] = static_cast<float>(sum[i] / static_cast<double>(kernel));
    }
    return result;
  }

  Index kernel_;
  double scale_;
};

}  // namespace

ScorerDefinition window_drift_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(32, 2)).add(axis_parameter());
  return {.description = "how far what the window's queries attend to most moves (ReST-KV's smoothing)",
          .parameters = parameters,
          .offered = false,
          .make = [](const Parameters& given) { return std::make_unique<WindowDriftScorer>(given); }};
}

SelectorDefinition drifting_selector() {
  ParameterList parameters;
  parameters.integer("kernel", 5, {1, 255, true}, "positions averaged over, more where the window's attention moves")
      .number("scale", 2000.0, {1.0, 1e9}, "positions it must move by for a shift by one");
  return {.description = "the best after averaging and shifting with the window's attention (ReST-KV)",
          .parameters = parameters,
          .offered = false,
          .make = [](const Parameters& given) {
            return std::make_unique<DriftingSelector>(given.integer("kernel"), given.number("scale"));
          }};
}

}  // namespace evictlab::sim
