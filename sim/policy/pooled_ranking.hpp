#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "sim/policy/allocator.hpp"

// What allocators look budgets up in when kept sets, or layers, compete for slots: everybody's scores in one falling
// order. Sorted once per layer, whatever the number of budgets.

namespace evictlab::sim {

/// Which of equal scores comes first. Candidates are counted set by set, in each by position.
enum class TieOrder { kLowerFirst, kHigherFirst };

/// Ranks the candidates of all kept sets of a layer together, by falling scores, as deep as anyone asks.
/// Thread-safe.
class PooledRanking final : public LayerStatistics {
 public:
  /// `scores` [kept sets, n].
  PooledRanking(std::shared_ptr<const trace::RowMatrix> scores, const PositionRanges& ranges, TieOrder ties);

  Index sets() const { return sets_; }
  /// All there are.
  Index candidates() const { return candidates_; }
  /// Of the first min(count, candidates()) or more in that order: which set they belong to, and their scores.
  std::shared_ptr<const std::vector<std::uint16_t>> owners(Index count) const;
  std::shared_ptr<const std::vector<float>> scores(Index count) const;

  /// Of the `count` best, how many are each set's.
  std::vector<Index> shares(Index count) const;
  /// The same where every set is guaranteed its `guarantee` best before the rest of `count` goes to the best of all.
  std::vector<Index> shares(Index count, Index guarantee) const;

 private:
  void sort_to(Index count) const;

  std::shared_ptr<const trace::RowMatrix> matrix_;
  PositionRanges ranges_;
  TieOrder ties_;
  Index sets_;
  Index candidates_;
  mutable std::mutex mutex_;
  mutable std::shared_ptr<const std::vector<std::uint16_t>> owners_;
  mutable std::shared_ptr<const std::vector<float>> scores_;
};

/// The ranking that an allocator prepared, or, where none did, a new one.
std::shared_ptr<const PooledRanking> pooled_ranking_of(const LayerSummary& summary, TieOrder ties);

/// The scores, each kept set's multiplied by the share of their sum that its `best` highest candidates hold.
std::shared_ptr<const trace::RowMatrix> weighed_by_concentration(const trace::RowMatrix& scores,
                                                                 const PositionRanges& ranges, Index best);

/// For allocators that look budgets up in it.
StatisticsRecipe pooled_ranking_statistics(TieOrder ties);

}  // namespace evictlab::sim
