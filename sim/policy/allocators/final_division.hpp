#pragma once

#include <numeric>
#include <vector>

#include "sim/policy/allocator.hpp"

namespace evictlab::sim {

/// Divides the slots of all layers at once, after the last layer; until then everything is held. Derived classes
/// remember what they need of each layer and divide.
class FinalDivision : public Allocation {
 public:
  /// `real_total`: the slots of all layers together are rounded down once, not every layer's capacity.
  explicit FinalDivision(const AllocationRequest& request, bool real_total = false)
      : request_(request), real_total_(real_total) {}

  Index ceiling(const LayerSummary& summary) const override { return summary.ranges.visible(); }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const Index sets = set_count(request_.granularity, summary.layer.shape);
    const Index free_slots = sets * (request_.capacity(summary.layer.shape) - summary.ranges.protected_count());
    remember(summary, free_slots);
    total_ += free_slots;
    real_slots_ = request_.total(summary.layer.shape, sets * request_.layers);
    protected_.insert(protected_.end(), static_cast<std::size_t>(sets), summary.ranges.protected_count());
    budgets_.insert(budgets_.end(), static_cast<std::size_t>(sets), summary.ranges.visible());
    return budgets_;
  }

  std::span<const Index> finish() override {
    if (real_total_) {
      total_ = real_slots_ - std::accumulate(protected_.begin(), protected_.end(), Index{0});
    }
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
  bool real_total_;
  Index real_slots_ = 0;  // of all layers, as the latest one's shape gives them
  Index total_ = 0;       // slots that are not protected
  bool finished_ = false;
  std::vector<Index> protected_, budgets_;  // [layers so far * sets]: positions
};

}  // namespace evictlab::sim
