// Allocators that give all sets of a layer the same: a layer's share, everything, only what is protected.

#include <algorithm>

#include "sim/policy/parts.hpp"

namespace evictlab::sim {
namespace {

class FixedAllocation final : public Allocation {
 public:
  FixedAllocation(const AllocationRequest& request, LayerShare share) : request_(request), share_(std::move(share)) {}

  Index ceiling(const LayerSummary& summary) const override {
    return std::min(share_.positions(request_, summary, layer_), summary.ranges.visible());
  }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const auto sets = static_cast<std::size_t>(set_count(request_.granularity, summary.layer.shape));
    budgets_.insert(budgets_.end(), sets, share_.positions(request_, summary, layer_));
    ++layer_;
    return budgets_;
  }

  std::span<const Index> finish() override { return budgets_; }

 private:
  AllocationRequest request_;
  LayerShare share_;
  Index layer_ = 0;
  std::vector<Index> budgets_;
};

class FixedAllocator final : public Allocator {
 public:
  FixedAllocator(LayerShare share, bool ignores_budget) : share_(std::move(share)), ignores_budget_(ignores_budget) {}

  std::string identity() const override { return share_.identity; }
  bool ignores_budget() const override { return ignores_budget_; }
  std::shared_ptr<const Allocator> uniform_over_layers() const override {
    if (ignores_budget_ || share_.identity == uniform_share().identity) return nullptr;
    return uniform_allocator();
  }
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    return std::make_unique<FixedAllocation>(request, share_);
  }

 private:
  LayerShare share_;
  bool ignores_budget_;
};

}  // namespace

std::shared_ptr<const Allocator> layered_allocator(LayerShare share) {
  return std::make_shared<FixedAllocator>(std::move(share), false);
}

std::shared_ptr<const Allocator> uniform_allocator() { return layered_allocator(uniform_share()); }

std::shared_ptr<const Allocator> everything_allocator() {
  return std::make_shared<FixedAllocator>(
      LayerShare{"everything",
                 [](const AllocationRequest&, const LayerSummary& summary, Index) { return summary.ranges.visible(); }},
      true);
}

std::shared_ptr<const Allocator> protected_allocator() {
  return layered_allocator({"protected", [](const AllocationRequest&, const LayerSummary& summary, Index) {
                              return summary.ranges.protected_count();
                            }});
}

}  // namespace evictlab::sim
