#include "sim/replay/headroom.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/select.hpp"
#include "sim/policy/future.hpp"

namespace evictlab::sim {

void GlobalOracle::add_layer(const trace::RowMatrix& shares, const PositionRanges& ranges) {
  for (Index set = 0; set < shares.rows(); ++set) protected_ += protected_share(shares.row(set), ranges);
  const trace::RowMatrix candidates = shares.middleCols(ranges.candidates_begin, ranges.candidates());
  const std::span values(candidates.data(), static_cast<std::size_t>(candidates.size()));
  std::vector<float> own;
  for (const std::uint32_t index : core::top_ranked(values, static_cast<std::size_t>(most_)))
    own.push_back(values[index]);
  std::vector<float> both(shares_.size() + own.size());
  std::ranges::merge(shares_, own, both.begin(), std::ranges::greater{});
  both.resize(std::min(both.size(), static_cast<std::size_t>(most_)));
  shares_ = std::move(both);
}

std::vector<double> GlobalOracle::best(std::span<const Index> counts) const {
  std::vector<double> masses;
  double mass = protected_;
  std::size_t summed = 0;
  for (const Index count : counts) {
    for (; summed < std::min(shares_.size(), static_cast<std::size_t>(count)); ++summed) mass += shares_[summed];
    masses.push_back(mass);
  }
  return masses;
}

bool has_headroom(const Policy& policy, Index layers) {
  return !policy.selector->ranking_depends_on_budget() && policy.selector->block() == 1 &&
         policy.selector->sharing(layers).layers == 1 && !policy.decoding;
}

std::vector<Headroom> headroom_of(std::span<const std::shared_ptr<const RankedGains>> layers,
                                  const GlobalOracle& future, std::span<const std::vector<Index>> runs,
                                  Index query_heads) {
  std::vector<Index> totals;
  for (const auto& counts : runs) totals.push_back(std::accumulate(counts.begin(), counts.end(), Index{0}));
  std::vector<std::size_t> rising(runs.size());
  std::iota(rising.begin(), rising.end(), std::size_t{0});
  std::ranges::stable_sort(rising, {}, [&](std::size_t run) { return totals[run]; });
  std::vector<Index> rising_totals;
  for (const std::size_t run : rising) rising_totals.push_back(totals[run]);
  const auto allocations = best_allocations(layers, rising_totals);
  const std::vector<double> best = future.best(rising_totals);

  const double unit = 1.0 / static_cast<double>(query_heads * static_cast<Index>(layers.size()));
  std::vector<Headroom> headroom(runs.size());
  for (std::size_t i = 0; i < rising.size(); ++i) {
    const std::vector<Index>& counts = runs[rising[i]];
    double own = 0.0;
    std::size_t set = 0;
    for (const auto& layer : layers) {
      for (Index index = 0; index < static_cast<Index>(layer->hulls().size()); ++index, ++set) {
        own += layer->value(index, counts[set]);
      }
    }
    // Sums of the same numbers in another order differ by rounding; and the division found may be no better.
    const auto gain = [&](double value) { return std::max(0.0, value - own) * unit; };
    Headroom& result = headroom[rising[i]];
    result.allocation = gain(allocations[i].value);
    result.allocation_bound = std::max(result.allocation, gain(allocations[i].bound));
    result.both = gain(best[i]);
  }
  return headroom;
}

}  // namespace evictlab::sim
