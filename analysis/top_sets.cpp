#include "analysis/top_sets.hpp"

#include <algorithm>
#include <cmath>

#include "core/select.hpp"

namespace evictlab::analysis {
namespace {

using trace::Index;

std::size_t common(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  std::size_t count = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    if (a[i] == b[j]) ++count;
    const bool advance_a = a[i] <= b[j];
    const bool advance_b = b[j] <= a[i];
    i += advance_a ? 1 : 0;
    j += advance_b ? 1 : 0;
  }
  return count;
}

}  // namespace

Index top_count(Index positions, double fraction) {
  const auto rounded = static_cast<Index>(std::llround(fraction * static_cast<double>(positions)));
  return std::min(std::max<Index>(rounded, 1), positions);
}

RankedMass rank_mass(std::span<const double> mass) {
  const std::vector<float> keys(mass.begin(), mass.end());
  RankedMass ranked{core::argsort_descending(keys), std::vector<double>(mass.size())};
  double sum = 0.0;
  for (std::size_t i = 0; i < mass.size(); ++i) ranked.cumulative[i] = sum += mass[ranked.order[i]];
  if (sum > 0.0) {
    for (double& value : ranked.cumulative) value /= sum;
  }
  return ranked;
}

Index positions_for(const RankedMass& ranked, double share) {
  if (ranked.cumulative.empty() || ranked.cumulative.back() <= 0.0) return 0;
  // The whole sum need not come out as exactly 1 / 1 on the way: the last position is enough for any share.
  const auto reached = std::ranges::lower_bound(ranked.cumulative, share);
  const Index found = reached - ranked.cumulative.begin() + 1;
  return std::min(found, static_cast<Index>(ranked.cumulative.size()));
}

double mass_on_top(const RankedMass& ranked, Index count) {
  return count <= 0 || ranked.cumulative.empty()
             ? 0.0
             : ranked.cumulative[std::min(static_cast<std::size_t>(count), ranked.cumulative.size()) - 1];
}

std::vector<std::uint32_t> top_set(const RankedMass& ranked, Index count) {
  const auto size = std::min(static_cast<std::size_t>(std::max<Index>(count, 0)), ranked.order.size());
  std::vector<std::uint32_t> set(ranked.order.begin(), ranked.order.begin() + static_cast<std::ptrdiff_t>(size));
  std::ranges::sort(set);
  return set;
}

double jaccard_index(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  const std::size_t shared = common(a, b);
  const std::size_t all = a.size() + b.size() - shared;
  return all == 0 ? 1.0 : static_cast<double>(shared) / static_cast<double>(all);
}

double share_inside(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  return a.empty() ? 1.0 : static_cast<double>(common(a, b)) / static_cast<double>(a.size());
}

double mean_run_length(std::span<const std::uint32_t> set) {
  std::size_t runs = 0;
  for (std::size_t i = 0; i < set.size(); ++i) runs += i == 0 || set[i] != set[i - 1] + 1 ? 1 : 0;
  return runs == 0 ? 0.0 : static_cast<double>(set.size()) / static_cast<double>(runs);
}

}  // namespace evictlab::analysis
