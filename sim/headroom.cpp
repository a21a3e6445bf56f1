#include "sim/headroom.hpp"

#include <algorithm>
#include <numeric>

#include "core/select.hpp"
#include "sim/competition.hpp"

namespace evictlab::sim {

void FutureOfAllLayers::add_layer(const trace::RowMatrix& shares, const PositionRanges& ranges) {
  protected_ += shares.leftCols(ranges.candidates_begin)
                    .rightCols(ranges.candidates_begin - ranges.first_visible)
                    .cast<double>()
                    .sum();
  protected_ += shares.rightCols(ranges.prompt_length - ranges.candidates_end).cast<double>().sum();
  const trace::RowMatrix candidates = shares.middleCols(ranges.candidates_begin, ranges.candidates());
  const std::span values(candidates.data(), static_cast<std::size_t>(candidates.size()));
  Layer layer;
  layer.shares.reserve(values.size());
  for (const std::uint32_t index : core::argsort_descending(values)) layer.shares.push_back(values[index]);
  double sum = 0.0;
  for (std::size_t i = 0; i < layer.shares.size(); ++i) {
    sum += layer.shares[i];
    if ((i + 1) % kBlock == 0) layer.sums.push_back(sum);
  }
  layers_.push_back(std::move(layer));
}

double FutureOfAllLayers::best(Index count) const {
  std::vector<std::span<const float>> lists;
  for (const Layer& layer : layers_) lists.emplace_back(layer.shares);
  const std::vector<Index> counts = counts_of_largest(lists, count);
  double mass = protected_;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const auto own = static_cast<std::size_t>(counts[l]);
    double sum = own >= kBlock ? layers_[l].sums[own / kBlock - 1] : 0.0;
    for (std::size_t i = own / kBlock * kBlock; i < own; ++i) sum += layers_[l].shares[i];
    mass += sum;
  }
  return mass;
}

bool has_headroom(const Policy& policy, Index layers) {
  return !policy.selector->ranking_depends_on_budget() && policy.selector->block() == 1 &&
         policy.selector->layers_sharing(layers) == 1 && !policy.decoding;
}

std::vector<Headroom> headroom_of(std::span<const std::shared_ptr<const RankedGains>> layers,
                                  const FutureOfAllLayers& future, std::span<const std::vector<Index>> runs,
                                  Index query_heads) {
  std::vector<Index> totals;
  for (const auto& counts : runs) totals.push_back(std::accumulate(counts.begin(), counts.end(), Index{0}));
  std::vector<std::size_t> rising(runs.size());
  std::iota(rising.begin(), rising.end(), std::size_t{0});
  std::ranges::stable_sort(rising, {}, [&](std::size_t run) { return totals[run]; });
  std::vector<Index> rising_totals;
  for (const std::size_t run : rising) rising_totals.push_back(totals[run]);
  const auto allocations = best_allocations(layers, rising_totals);

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
    result.both = gain(future.best(rising_totals[i]));
  }
  return headroom;
}

}  // namespace evictlab::sim
