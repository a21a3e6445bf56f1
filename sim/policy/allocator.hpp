#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// What an allocator is told about the prompt before its first layer.
struct AllocationRequest {
  Index layers = 0;    // how many will be observed
  double slots = 0.0;  // per kv head, averaged over these layers; protected positions count
  Granularity granularity = Granularity::kKvHead;
  bool authors_unit = false;  // slots are what the method's source calls a capacity: positions per kept set
  Index uncounted = 0;        // protected positions that this capacity does not count

  /// Positions per kept set, protected ones included, if all get the same; not rounded.
  double real_capacity(const trace::LayerShape& shape) const {
    if (authors_unit) return slots + static_cast<double>(uncounted);
    return real_set_capacity(granularity, shape, slots);
  }
  Index capacity(const trace::LayerShape& shape) const { return static_cast<Index>(real_capacity(shape)); }
};

/// Holds what an allocator computes of a layer once, for all budgets. Each kind of allocator derives its own.
class LayerStatistics {
 public:
  virtual ~LayerStatistics() = default;
};

/// One layer as an allocator sees it.
struct LayerSummary {
  const trace::LayerView& layer;
  const Importance& importance;
  PositionRanges ranges;
  const Ranking* ranking = nullptr;  // at least to the ceiling; none where it depends on the budget, or is not made yet
  std::shared_ptr<const LayerStatistics> statistics = nullptr;  // of this allocator; none where it prepares nothing
};

/// What a user should know about how a policy went on a prompt: a published setting that had to be replaced, a budget
/// that was lost.
struct Note {
  std::string text;    // the same for every prompt
  double slots = 0.0;  // per kv head, over all layers, where the text is about some
};

/// An allocator at work on one prompt. Layers come in order, each once; nothing of a layer may be kept
/// but what later budgets need.
class Allocation {
 public:
  virtual ~Allocation() = default;
  /// The most positions a kept set of this layer can ever be given, protected ones included: what is
  /// ranked below it is forgotten.
  virtual Index ceiling(const LayerSummary& summary) const = 0;
  /// Budgets of all layers so far, [layers so far * kept sets], protected positions included. A layer
  /// may get fewer than before (cascading); what it gets more than before is recorded but not given
  /// back, for the positions are gone.
  virtual std::span<const Index> observe(const LayerSummary& summary) = 0;
  /// The same after the last layer.
  virtual std::span<const Index> finish() = 0;
  /// Whether layers are cut to the budgets last given. If not, these are only recorded: a method that evicts after
  /// the last layer holds all before, and CAKE's code evicts nothing of a short prompt, whatever its budget.
  virtual bool evicts() const { return true; }
  /// After the last layer.
  virtual std::vector<Note> notes() const { return {}; }
};

/// Says how many positions each layer and head may keep. Immutable; begin() starts its work on a prompt.
class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual std::string identity() const = 0;
  /// What it reads beyond the importance.
  virtual Needs needs() const { return {}; }
  /// Whether it reads the scores of the policy's scorer.
  virtual bool needs_scores() const { return false; }
  /// Computes the statistics of a layer; handed back as LayerSummary::statistics, which is null in this summary.
  virtual std::shared_ptr<const LayerStatistics> prepare(const LayerSummary& /*summary*/) const { return nullptr; }
  /// Names the statistics with all that they depend on: allocators of the same name share them. Empty: prepares none.
  virtual std::string statistics_identity() const { return {}; }
  /// Whether a layer's budgets can still change after it was observed.
  virtual bool revises() const { return false; }
  /// Whether any budget will do (`full`).
  virtual bool ignores_budget() const { return false; }
  /// Whether a set given more than it has left repeats its last protected positions, as DynamicKV's code does.
  virtual bool repeats_recent() const { return false; }
  /// The fewest positions per kept set it can work with, when so many are protected.
  virtual Index least_capacity(Index protected_count) const { return std::max<Index>(1, protected_count); }
  /// The same kind of allocation with an equal share for every layer; null when layers are equal anyway.
  virtual std::shared_ptr<const Allocator> uniform_over_layers() const { return nullptr; }
  virtual std::unique_ptr<Allocation> begin(const AllocationRequest& request) const = 0;
};

}  // namespace evictlab::sim
