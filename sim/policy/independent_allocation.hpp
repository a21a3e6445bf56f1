#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "sim/policy/allocator.hpp"

namespace evictlab::sim {

/// Gives each layer what that layer alone says, whatever the others show.
class IndependentAllocation : public Allocation {
 public:
  Index ceiling(const LayerSummary& summary) const final { return std::ranges::max(positions(summary)); }
  std::span<const Index> observe(const LayerSummary& summary) final {
    const std::vector<Index> own = positions(summary);
    budgets_.insert(budgets_.end(), own.begin(), own.end());
    return budgets_;
  }
  std::span<const Index> finish() final { return budgets_; }

 private:
  /// Of every kept set of the layer, [sets], protected positions included.
  virtual std::vector<Index> positions(const LayerSummary& summary) const = 0;

  std::vector<Index> budgets_;  // [layers so far * sets]
};

}  // namespace evictlab::sim
