#include "sim/policy/ranked_gains.hpp"

#include "core/parallel.hpp"
#include "sim/policy/future.hpp"

namespace evictlab::sim {

RankedGains::RankedGains(const trace::RowMatrix& shares, const Ranking& ranking, const PositionRanges& ranges) {
  const std::size_t sets = ranking.order.size();
  gains_.resize(sets);
  std::vector<std::optional<analysis::ConcaveHull>> hulls(sets);
  core::parallel_for(sets, [&](std::size_t set) {
    const auto row = shares.row(static_cast<Index>(set));
    std::vector<double> curve = {protected_share(row, ranges)};
    curve.reserve(ranking.order[set].size() + 1);
    for (const std::int32_t position : ranking.order[set]) {
      gains_[set].push_back(row[position]);
      curve.push_back(curve.back() + double{row[position]});
    }
    hulls[set].emplace(curve);
  });
  for (auto& hull : hulls) hulls_.push_back(std::move(*hull));
}

double RankedGains::value(Index set, Index count) const {
  const analysis::ConcaveHull& hull = hulls_[static_cast<std::size_t>(set)];
  std::size_t below = 0;
  std::size_t end = hull.vertices();
  while (below + 1 < end) {
    const std::size_t middle = below + (end - below) / 2;
    (hull.count(middle) <= count ? below : end) = middle;
  }
  double value = hull.value(below);
  for (Index i = hull.count(below); i < count; ++i) {
    value += double{gains_[static_cast<std::size_t>(set)][static_cast<std::size_t>(i)]};
  }
  return value;
}

std::vector<analysis::SlotAllocation> best_allocations(std::span<const std::shared_ptr<const RankedGains>> layers,
                                                       std::span<const Index> totals) {
  std::vector<analysis::ConcaveHull> hulls;
  std::vector<std::pair<const RankedGains*, Index>> owner;  // of each hull: the layer's curves, and the set there
  for (const auto& layer : layers) {
    for (std::size_t set = 0; set < layer->hulls().size(); ++set) {
      hulls.push_back(layer->hulls()[set]);
      owner.emplace_back(layer.get(), static_cast<Index>(set));
    }
  }
  const auto value_of = [&](std::size_t index, Index count) {
    return owner[index].first->value(owner[index].second, count);
  };
  return analysis::allocations(hulls, value_of, totals);
}

}  // namespace evictlab::sim
