// Allocators that need nothing but the layer's shape: the same for all, everything, only what is protected.

#include <algorithm>
#include <functional>

#include "sim/parts.hpp"

namespace evictlab::sim {
namespace {

// Positions a kept set of a layer gets.
using Rule = std::function<Index(const AllocationRequest&, const LayerSummary&)>;

class FixedAllocation final : public Allocation {
 public:
  FixedAllocation(const AllocationRequest& request, Rule rule) : request_(request), rule_(std::move(rule)) {}

  Index ceiling(const LayerSummary& summary) const override { return rule_(request_, summary); }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const auto sets = static_cast<std::size_t>(set_count(request_.granularity, summary.layer.shape));
    budgets_.insert(budgets_.end(), sets, rule_(request_, summary));
    return budgets_;
  }

  std::span<const Index> finish() override { return budgets_; }

 private:
  AllocationRequest request_;
  Rule rule_;
  std::vector<Index> budgets_;
};

class FixedAllocator final : public Allocator {
 public:
  FixedAllocator(std::string identity, bool ignores_budget, Rule rule)
      : identity_(std::move(identity)), ignores_budget_(ignores_budget), rule_(std::move(rule)) {}

  std::string identity() const override { return identity_; }
  bool ignores_budget() const override { return ignores_budget_; }
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    return std::make_unique<FixedAllocation>(request, rule_);
  }

 private:
  std::string identity_;
  bool ignores_budget_;
  Rule rule_;
};

}  // namespace

std::shared_ptr<const Allocator> uniform_allocator() {
  return std::make_shared<FixedAllocator>(
      "uniform", false, [](const AllocationRequest& request, const LayerSummary& summary) {
        const Index capacity = set_capacity(request.granularity, summary.layer.shape, request.slots);
        return std::min(capacity, summary.ranges.visible());
      });
}

std::shared_ptr<const Allocator> everything_allocator() {
  return std::make_shared<FixedAllocator>(
      "everything", true,
      [](const AllocationRequest&, const LayerSummary& summary) { return summary.ranges.visible(); });
}

std::shared_ptr<const Allocator> protected_allocator() {
  return std::make_shared<FixedAllocator>(
      "protected", false,
      [](const AllocationRequest&, const LayerSummary& summary) { return summary.ranges.protected_count(); });
}

}  // namespace evictlab::sim
