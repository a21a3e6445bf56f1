#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sim/policy/policy.hpp"
#include "sim/policy/types.hpp"

// Carrying a policy out, layer by layer in their order, on recorded or on live layers: score, rank, let the allocator
// see the layer, keep the first of the ranking. What a kept set holds is a ranking and a count, so that any number of
// budgets shares one ranking.

namespace evictlab::sim {

/// Scores of one layer by scorer_key(), so that policies with a scorer in common score once.
using KnownScores = std::map<std::string, std::shared_ptr<const trace::RowMatrix>>;
/// Scorers of the same key give the same scores.
std::string scorer_key(const Scorer& scorer);
/// What a scorer says of a layer, [kept sets, n]; NaN where nothing was scored.
trace::RowMatrix raw_scores(const Scorer& scorer, const trace::LayerView& layer);

/// A layer's importance under a policy. Throws PolicyError when the layer lacks what the scorer reads, and
/// when a candidate's score is not finite: the layer's numbers are not, or the scorer left one out.
Importance score_layer(const Policy& policy, const trace::LayerView& layer, const KnownScores& known = {});

/// The first `ceiling` (protected positions not counted) candidates of every kept set, by a selector
/// whose ranking does not depend on the budget. Kept sets are ranked in parallel.
std::shared_ptr<const Ranking> rank_layer(const Policy& policy, const trace::LayerShape& shape,
                                          const Importance& importance, Index ceiling);

/// Holds one layer's kept sets: what is protected, and the first of a ranking's candidates.
struct HeldLayer {
  trace::LayerShape shape;
  PositionRanges ranges;
  std::shared_ptr<const Ranking> ranking;           // this layer's, or that of the layer whose selection it shares
  std::vector<Index> counts;                        // [sets]: ranked candidates held
  std::vector<std::vector<std::int32_t>> repeated;  // [sets]: protected positions stored a second time
  std::vector<Index> budgets;                       // [sets]: as allocated; a set may hold fewer
  bool shared = false;                              // holds what an earlier layer selected

  Index sets() const { return static_cast<Index>(counts.size()); }
  /// Stored by a set, protected and repeated positions included.
  Index stored(Index set) const;
  /// Candidates of a set that are held, by falling importance.
  std::span<const std::int32_t> selected(Index set) const;
  /// The positions themselves.
  LayerRetention positions() const;
};

/// Evicts by one policy at one budget from one prompt. The policy must outlive it.
class Eviction {
 public:
  /// The model has `layers`, of which `observed` will be observed (of a partial recording, some; check_layers() says
  /// which policies that serves). `slots` per kv head are averaged over the model's layers, protected positions
  /// included. Fractional budgets are floored, except for methods that compute with real-valued budgets.
  Eviction(const Policy& policy, Index layers, double slots, Index observed);
  Eviction(const Policy& policy, Index layers, double slots) : Eviction(policy, layers, slots, layers) {}

  /// The next layer. Throws PolicyError when its budget is below what is protected.
  void observe(const trace::LayerView& layer);
  /// The same for a layer that is scored already. `ranking`, where given, is at least as deep as ceiling();
  /// `statistics`, where given, are those of the policy's allocator.
  void observe(const trace::LayerView& layer, const Importance& importance, std::shared_ptr<const Ranking> ranking,
               std::shared_ptr<const LayerStatistics> statistics = nullptr);
  /// How many ranked candidates of a kept set observe() reads.
  Index ceiling(const trace::LayerView& layer, const Importance& importance) const;

  /// What the index-th observed layer holds now; may still shrink where the allocator revises.
  const HeldLayer& held(std::size_t index) const { return held_.at(index); }
  LayerRetention layer(std::size_t index) const { return held(index).positions(); }
  /// Lets go of a layer's ranking: only where the allocator never revises, and instead of finish().
  void release(std::size_t index);
  Granularity granularity() const { return request_.granularity; }
  /// Positions held now by the sets of all layers observed, in slots per kv head.
  double held_slots() const;
  /// After the last layer: the allocator's last word.
  void settle();
  /// The same, and what is held.
  Retention finish();
  /// What the allocator has to say about this prompt, after finish() or the last layer.
  std::vector<Note> notes() const { return allocation_->notes(); }

 private:
  /// What the latest layer that selected for others holds.
  struct Selection {
    std::shared_ptr<const Ranking> ranking;
    std::vector<Index> counts;
    PositionRanges ranges;
  };
  bool keeps_all(const HeldLayer& layer) const;
  void rank(const Importance& importance, std::shared_ptr<const Ranking> ranking, Index most, HeldLayer& layer) const;
  void take_selection(HeldLayer& layer) const;
  void share_selection();
  void apply(std::span<const Index> budgets);
  void cut(HeldLayer& layer) const;

  const Policy& policy_;
  AllocationRequest request_;
  Index observed_;
  std::unique_ptr<Allocation> allocation_;
  std::vector<HeldLayer> held_;
  std::vector<bool> released_;
  std::optional<Selection> selection_;
};

/// All layers of a prompt at once.
Retention evict(const Policy& policy, std::span<const trace::LayerView> layers, double slots);

}  // namespace evictlab::sim
