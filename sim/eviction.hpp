#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/policy.hpp"
#include "sim/retention.hpp"

// Carrying a policy out, layer by layer in their order, on recorded or on live layers: score, let the
// allocator see the layer, keep no more of the ranking than it can still ask for.

namespace evictlab::sim {

/// Scores of one layer by scorer_key(), so that policies with a scorer in common score once.
using KnownScores = std::map<std::string, trace::RowMatrix>;
/// Scorers of the same key give the same scores.
std::string scorer_key(const Scorer& scorer);
/// What a scorer says of a layer, [kept sets, n]; NaN where nothing was scored.
trace::RowMatrix raw_scores(const Scorer& scorer, const trace::LayerView& layer);

/// A layer's importance under a policy. Throws PolicyError when the layer lacks what the scorer reads, and
/// when a candidate's score is not finite: the layer's numbers are not, or the scorer left one out.
Importance score_layer(const Policy& policy, const trace::LayerView& layer, const KnownScores& known = {});

/// The first `ceiling` (protected positions not counted) candidates of every kept set, by a selector
/// whose ranking does not depend on the budget.
Ranking rank_layer(const Policy& policy, const trace::LayerShape& shape, const Importance& importance, Index ceiling);

/// One policy at one budget at work on one prompt. The policy must outlive it.
class Eviction {
 public:
  /// `layers` will be observed; `slots` per kv head averaged over them, protected positions included. A fraction
  /// of a slot is dropped but where a method reckons in real numbers.
  Eviction(const Policy& policy, Index layers, double slots);

  /// The next layer. Throws PolicyError when its budget is below what is protected.
  void observe(const trace::LayerView& layer);
  /// The same with the layer scored already, and ranked at least as deep as ceiling() tells where
  /// `ranking` is given.
  void observe(const trace::LayerView& layer, const Importance& importance, const Ranking* ranking);
  /// How many ranked candidates of a kept set observe() would look at.
  Index ceiling(const trace::LayerView& layer, const Importance& importance) const;

  /// What the index-th observed layer holds now; may still shrink where the allocator revises.
  LayerRetention layer(std::size_t index) const;
  /// The same, and forgets the layer: only where the allocator never revises, and instead of finish().
  LayerRetention take_layer(std::size_t index);
  /// Positions held now by the sets of all layers observed, in slots per kv head.
  double held_slots() const;
  /// After the last layer.
  Retention finish();
  /// What the allocator has to say about this prompt, after finish() or the last layer.
  std::vector<Note> notes() const { return allocation_->notes(); }

 private:
  struct Held {  // a layer observed
    trace::LayerShape shape;
    PositionRanges ranges;
    std::vector<std::vector<std::int32_t>> ranked;  // [sets]: candidates still held, by falling importance
    std::vector<Index> budgets;                     // [sets], the latest
    std::vector<Index> counts;                      // [sets]: positions held, protected ones included
    bool shared = false;                            // holds what an earlier layer selected
    bool repeated = false;                          // holds protected positions twice
    bool taken = false;                             // forgotten but for its counts
  };
  void rank(const Importance& importance, const Ranking* ranking, Index most, Held& held) const;
  void apply(std::span<const Index> budgets);
  void cut(Held& held) const;
  void share_selection();

  const Policy& policy_;
  AllocationRequest request_;
  std::unique_ptr<Allocation> allocation_;
  std::vector<Held> held_;
  std::vector<std::vector<std::int32_t>> selection_;  // [sets]: what the latest layer that selected for others holds
};

/// All layers of a prompt at once.
Retention evict(const Policy& policy, std::span<const trace::LayerView> layers, double slots);

}  // namespace evictlab::sim
