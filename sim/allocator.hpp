#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/importance.hpp"
#include "sim/needs.hpp"

namespace evictlab::sim {

/// What an allocator is told about the prompt before its first layer.
struct AllocationRequest {
  Index layers = 0;  // how many will be observed
  Index slots = 0;   // per kv head, averaged over these layers; protected positions count
  Granularity granularity = Granularity::kKvHead;
  Protection protection;
};

/// One layer as an allocator sees it.
struct LayerSummary {
  const trace::LayerView& layer;
  const Importance& importance;
  PositionRanges ranges;
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
};

/// Says how many positions each layer and head may keep. Immutable; begin() starts its work on a prompt.
class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual std::string identity() const = 0;
  /// What it reads beyond the importance.
  virtual Needs needs() const { return {}; }
  /// Whether a layer's budgets can still change after it was observed.
  virtual bool revises() const { return false; }
  /// Whether any budget will do (`full`).
  virtual bool ignores_budget() const { return false; }
  virtual std::unique_ptr<Allocation> begin(const AllocationRequest& request) const = 0;
};

}  // namespace evictlab::sim
