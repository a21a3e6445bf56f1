#include "sim/competition.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <numeric>

#include "core/select.hpp"

namespace evictlab::sim {
namespace {

// Whole numbers in the order of the floats they stand for, -0.0 as 0.0; and back.
std::uint32_t rising_key(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value + 0.0F);
  return (bits & 0x80000000U) != 0 ? ~bits : bits | 0x80000000U;
}
float from_rising_key(std::uint32_t key) {
  return std::bit_cast<float>((key & 0x80000000U) != 0 ? key & 0x7FFFFFFFU : ~key);
}

}  // namespace

Competition::Competition(const LayerSummary& summary, TieOrder ties)
    : matrix_(summary.importance.scores),
      ranges_(summary.ranges),
      ties_(ties),
      sets_(matrix_->rows()),
      candidates_(sets_ * ranges_.candidates()) {}

void Competition::sort_to(Index count) const {
  if (scores_ && static_cast<Index>(scores_->size()) >= std::min(count, candidates_)) return;
  // Sorting anew for every deeper budget would cost as much as there are budgets: go twice as deep then.
  const auto depth = static_cast<std::size_t>(std::min(candidates_, scores_ ? 2 * count : count));
  trace::RowMatrix flat = matrix_->middleCols(ranges_.candidates_begin, ranges_.candidates());
  const std::span values(flat.data(), static_cast<std::size_t>(flat.size()));
  if (ties_ == TieOrder::kHigherFirst) std::reverse(values.begin(), values.end());
  const auto order = core::top_ranked(values, depth);
  auto owners = std::make_shared<std::vector<std::uint16_t>>(order.size());
  auto scores = std::make_shared<std::vector<float>>(order.size());
  const auto columns = static_cast<std::uint32_t>(std::max<Index>(1, ranges_.candidates()));
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto set = static_cast<std::uint16_t>(order[i] / columns);
    (*owners)[i] = ties_ == TieOrder::kHigherFirst ? static_cast<std::uint16_t>(sets_ - 1 - set) : set;
    (*scores)[i] = values[order[i]];
  }
  owners_ = std::move(owners);
  scores_ = std::move(scores);
}

std::shared_ptr<const std::vector<std::uint16_t>> Competition::owners(Index count) const {
  const std::lock_guard lock(mutex_);
  sort_to(count);
  return owners_;
}

std::shared_ptr<const std::vector<float>> Competition::scores(Index count) const {
  const std::lock_guard lock(mutex_);
  sort_to(count);
  return scores_;
}

std::vector<Index> Competition::shares(Index count) const { return shares(count, 0); }

std::vector<Index> Competition::shares(Index count, Index guarantee) const {
  std::vector<Index> counts(static_cast<std::size_t>(sets_), std::min(guarantee, ranges_.candidates()));
  count = std::min(std::max<Index>(count, 0), candidates_);
  Index left = count - std::accumulate(counts.begin(), counts.end(), Index{0});
  if (left <= 0) return counts;
  const auto owners = this->owners(count);
  std::vector<Index> guaranteed = counts;  // of each set's best, those still to come in the common order
  for (const std::uint16_t set : *owners) {
    if (guaranteed[set] > 0) {
      --guaranteed[set];
      continue;
    }
    ++counts[set];
    if (--left == 0) break;
  }
  return counts;
}

std::shared_ptr<const Competition> competition_of(const LayerSummary& summary, TieOrder ties) {
  if (auto known = std::dynamic_pointer_cast<const Competition>(summary.measure)) return known;
  return std::make_shared<const Competition>(summary, ties);
}

std::vector<Index> counts_of_largest(std::span<const std::span<const float>> lists, Index total) {
  const auto largest = [&](float cut, auto bound) {  // counts of numbers above the cut, or not below it
    std::vector<Index> counts;
    for (const auto list : lists)
      counts.push_back(bound(list.begin(), list.end(), cut, std::greater<>()) - list.begin());
    return counts;
  };
  const auto sum = [](const std::vector<Index>& counts) {
    return std::accumulate(counts.begin(), counts.end(), Index{0});
  };
  const auto above = [](auto begin, auto end, float cut, auto order) {
    return std::lower_bound(begin, end, cut, order);
  };
  const auto not_below = [](auto begin, auto end, float cut, auto order) {
    return std::upper_bound(begin, end, cut, order);
  };
  std::vector<Index> all;
  for (const auto list : lists) all.push_back(static_cast<Index>(list.size()));
  if (total >= sum(all)) return all;
  if (total <= 0) return std::vector<Index>(lists.size(), 0);
  // The largest cut that leaves at least `total` numbers not below it.
  std::uint32_t low = rising_key(-std::numeric_limits<float>::infinity());
  std::uint32_t high = rising_key(std::numeric_limits<float>::infinity());
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2 + 1;
    if (sum(largest(from_rising_key(middle), not_below)) >= total) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  const float cut = from_rising_key(low);
  std::vector<Index> counts = largest(cut, above);
  const std::vector<Index> with_equal = largest(cut, not_below);
  Index left = total - sum(counts);
  for (std::size_t l = 0; l < counts.size(); ++l) {
    const Index equal = std::min(left, with_equal[l] - counts[l]);
    counts[l] += equal;
    left -= equal;
  }
  return counts;
}

}  // namespace evictlab::sim
