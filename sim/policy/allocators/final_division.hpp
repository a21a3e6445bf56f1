#pragma once

#include <vector>

#include "sim/policy/allocator.hpp"

namespace evictlab::sim {

/// Divides the slots of all layers at once, after the last layer; until then everything is held. Derived classes
/// remember what they need of each layer and divide.
class FinalDivision : public Allocation {
 public:
  explicit FinalDivision(const AllocationRequest& request) : request_(request) {}

  Index ceiling(const LayerSummary& summary) const override { return summary.ranges.visible(); }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const Index sets = set_count(request_.granularity, summary.layer.shape);
    const Index free_slots = sets * (request_.capacity(summary.layer.shape) - summary.ranges.protected_count());
    remember(summary, free_slots);
    total_ += free_slots;
    protected_.insert(protected_.end(), static_cast<std::size_t>(sets), summary.ranges.protected_count());
    budgets_.insert(budgets_.end(), static_cast<std::size_t>(sets), summary.ranges.visible());
    return budgets_;
  }

  std::span<const Index> finish() override {
    const std::vector<Index> counts = divide(total_);
    for (std::size_t set = 0; set < counts.size(); ++set) budgets_[set] = protected_[set] + counts[set];
    finished_ = true;
    return budgets_;
  }
  bool evicts() const override { return finished_; }

 protected:
  const AllocationRequest& request() const { return request_; }

 private:
  /// Of this layer, whose equal share is `free_slots` that are not protected.
  virtual void remember(const LayerSummary& summary, Index free_slots) = 0;
  /// Candidates of every set of all layers, [layers * sets], `total` together.
  virtual std::vector<Index> divide(Index total) = 0;

  AllocationRequest request_;
  Index total_ = 0;  // slots that are not protected
  bool finished_ = false;
  std::vector<Index> protected_, budgets_;  // [layers so far * sets]: positions
};

}  // namespace evictlab::sim
