#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "sim/policy/part.hpp"
#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// The budget of one prompt, as an allocator gets it before the first layer.
struct AllocationRequest {
  Index layers = 0;    // of the model; a partial recording shows only some of them
  double slots = 0.0;  // per kv head, averaged over the layers; protected positions count
  Granularity granularity = Granularity::kKvHead;
  bool authors_unit = false;  // slots are what the method's source calls a capacity: positions per kept set
  Index uncounted = 0;        // protected positions that this capacity does not count

  /// Positions per kept set, protected ones included, if all get the same; not rounded.
  double real_capacity(const trace::LayerShape& shape) const {
    if (authors_unit) return slots + static_cast<double>(uncounted);
    return real_set_capacity(granularity, shape, slots);
  }
  Index capacity(const trace::LayerShape& shape) const { return static_cast<Index>(real_capacity(shape)); }
  /// Positions of `sets` kept sets together, rounded down once.
  Index total(const trace::LayerShape& shape, Index sets) const {
    return static_cast<Index>(real_capacity(shape) * static_cast<double>(sets));
  }
};

/// Holds what an allocator computes of a layer once, for all budgets. Each kind of allocator derives its own.
class LayerStatistics {
 public:
  virtual ~LayerStatistics() = default;
};

/// Shows one layer to an allocator.
struct LayerSummary {
  const trace::LayerView& layer;
  const Importance& importance;
  PositionRanges ranges;
  const Ranking* ranking = nullptr;  // at least to the ceiling; none where it depends on the budget, or is not made yet
  std::shared_ptr<const LayerStatistics> statistics = nullptr;  // of this allocator; none where it prepares nothing
};

/// A message to the user about a policy's run on a prompt: a published setting was replaced, or slots were lost.
struct Note {
  std::string text;    // the same for every prompt
  double slots = 0.0;  // per kv head, over all layers, where the text is about some
};

/// Divides the budget of one prompt over its layers, which come in order, each once. Keeps nothing of a layer but what
/// later budgets need. A layer's place in the model is its shape's `layer`: of a partial recording some never come.
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
  /// A kept set is given `missing` positions more than it has left, and protects `recent` last ones: how many of these
  /// it stores once more. None, but for DynamicKV's code.
  virtual Index repeats(Index /*missing*/, Index /*recent*/) const { return 0; }
  /// After the last layer.
  virtual std::vector<Note> notes() const { return {}; }
};

/// Computes budget-independent statistics of a layer, once for all budgets.
struct StatisticsRecipe {
  std::string identity = {};  // allocators of the same identity share the statistics; empty: there are none
  /// Called with a summary that has no statistics yet.
  std::function<std::shared_ptr<const LayerStatistics>(const LayerSummary&)> prepare = nullptr;
};

/// Says what an allocator needs and what it does, whatever the prompt.
struct AllocatorTraits {
  Needs needs = {};               // what it reads beyond the importance
  bool reads_scores = false;      // of the policy's scorer
  bool revises = false;           // a layer's budgets can still change after it was observed
  bool ignores_budget = false;    // any budget will do
  bool keeps_everything = false;  // evicts nothing, by its definition
  Index least_free = 0;           // positions per kept set that it needs besides the protected ones
  /// A layer's budget depends on what other layers show, so that all of them must be recorded.
  bool compares_layers = false;
  /// The allocator that gives every layer an equal share and is else the same; no name: layers are equal anyway.
  PartChoice equal_layers = {};
  /// What is protected where that is the method itself, so that nothing else can be protected instead.
  std::optional<Protection> protection = std::nullopt;
  /// Whose kept sets its budgets are for, where they were not made for whatever sets a policy has.
  std::optional<Granularity> budgets_per = std::nullopt;
  StatisticsRecipe statistics = {};
};

/// Says how many positions each layer and head may keep. Immutable; begin() starts its work on a prompt.
class Allocator : public Part {
 public:
  explicit Allocator(AllocatorTraits traits = {}) : traits_(std::move(traits)) {}
  const AllocatorTraits& traits() const { return traits_; }
  /// The fewest positions per kept set it can work with, when so many are protected.
  Index least_capacity(Index protected_count) const { return std::max<Index>(1, protected_count + traits_.least_free); }
  virtual std::unique_ptr<Allocation> begin(const AllocationRequest& request) const = 0;

 private:
  AllocatorTraits traits_;
};

/// The rule of an allocator without parameters.
struct NoRule {};

/// Begins work of one kind by a rule: all that most allocators do.
template <typename Work, typename Rule>
class RuleAllocator final : public Allocator {
 public:
  RuleAllocator(AllocatorTraits traits, Rule rule) : Allocator(std::move(traits)), rule_(std::move(rule)) {}
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    return std::make_unique<Work>(request, rule_);
  }

 private:
  Rule rule_;
};
template <typename Work, typename Rule>
std::unique_ptr<Allocator> rule_allocator(AllocatorTraits traits, Rule rule) {
  return std::make_unique<RuleAllocator<Work, Rule>>(std::move(traits), std::move(rule));
}

}  // namespace evictlab::sim
