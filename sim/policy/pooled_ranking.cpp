#include "sim/policy/pooled_ranking.hpp"

#include <algorithm>
#include <numeric>

#include "core/select.hpp"

namespace evictlab::sim {
PooledRanking::PooledRanking(std::shared_ptr<const trace::RowMatrix> scores, const PositionRanges& ranges,
                             TieOrder ties)
    : matrix_(std::move(scores)),
      ranges_(ranges),
      ties_(ties),
      sets_(matrix_->rows()),
      candidates_(sets_ * ranges_.candidates()) {}

void PooledRanking::sort_to(Index count) const {
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

std::shared_ptr<const std::vector<std::uint16_t>> PooledRanking::owners(Index count) const {
  const std::lock_guard lock(mutex_);
  sort_to(count);
  return owners_;
}

std::shared_ptr<const std::vector<float>> PooledRanking::scores(Index count) const {
  const std::lock_guard lock(mutex_);
  sort_to(count);
  return scores_;
}

std::vector<Index> PooledRanking::shares(Index count) const { return shares(count, 0); }

std::vector<Index> PooledRanking::shares(Index count, Index guarantee) const {
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

std::shared_ptr<const PooledRanking> pooled_ranking_of(const LayerSummary& summary, TieOrder ties) {
  if (auto known = std::dynamic_pointer_cast<const PooledRanking>(summary.statistics)) return known;
  return std::make_shared<const PooledRanking>(summary.importance.scores, summary.ranges, ties);
}

std::shared_ptr<const trace::RowMatrix> weighed_by_concentration(const trace::RowMatrix& scores,
                                                                 const PositionRanges& ranges, Index best) {
  auto weighed = std::make_shared<trace::RowMatrix>(scores);
  for (Index set = 0; set < weighed->rows(); ++set) {
    auto row = weighed->row(set).segment(ranges.candidates_begin, ranges.candidates());
    const std::span values(row.data(), static_cast<std::size_t>(row.size()));
    double highest = 0.0;
    for (const std::uint32_t index : core::top_positions(values, static_cast<std::size_t>(best))) {
      highest += values[index];
    }
    const double all = row.cast<double>().sum();
    if (all > 0.0) row *= static_cast<float>(highest / all);
  }
  return weighed;
}

StatisticsRecipe pooled_ranking_statistics(TieOrder ties) {
  return {ties == TieOrder::kLowerFirst ? "pooled-ranking(ties=lower)" : "pooled-ranking(ties=higher)",
          [ties](const LayerSummary& summary) {
            return std::make_shared<const PooledRanking>(summary.importance.scores, summary.ranges, ties);
          }};
}

}  // namespace evictlab::sim
