// WindowKV's budgets (Zuo et al. 2025, arXiv:2503.17922): groups of successive layers, an arithmetic sequence over the
// groups. With C = capacity - protected, g layers a group and ng = L / g groups, as the authors' code computes it
// (optim996/WindowKV@7513467; divisions round down):
//
//   last = C g // beta,  first = 2 C - last,  step = (first - last) // (ng - 1)
//   group i gets first - i step in each of its layers, the last group `last`
//
// With large g that is a flat pyramid; g > beta makes budgets grow with depth. In the paper's form last = C / beta and
// group i gets floor(first + (last - first) i / (ng - 1)). One group (where the code divides by zero) gets C.

#include <fmt/format.h>

#include <cmath>

#include "sim/policy/arithmetic.hpp"
#include "sim/policy/parts.hpp"

namespace evictlab::sim {
namespace {

class LayerGroupsAllocation final : public Allocation {
 public:
  LayerGroupsAllocation(const AllocationRequest& request, const LayerGroupsRule& rule)
      : request_(request), rule_(rule) {}

  Index ceiling(const LayerSummary& summary) const override {
    return std::min(summary.ranges.visible(), share(summary) + summary.ranges.protected_count());
  }
  std::span<const Index> observe(const LayerSummary& summary) override {
    const auto sets = static_cast<std::size_t>(set_count(request_.granularity, summary.layer.shape));
    budgets_.insert(budgets_.end(), sets, share(summary) + summary.ranges.protected_count());
    ++layer_;
    return budgets_;
  }
  std::span<const Index> finish() override { return budgets_; }

  std::vector<Note> notes() const override {
    const Index group = layers_in_group(request_.layers, rule_.group);
    if (group == rule_.group) return {};
    return {{fmt::format("{} layers do not make at least two whole groups of {}: groups of {} are used",
                         request_.layers, rule_.group, group)}};
  }

 private:
  Index share(const LayerSummary& summary) const {
    const Index group = layers_in_group(request_.layers, rule_.group);
    const Index groups = request_.layers / group;
    const Index mean = std::max<Index>(0, request_.capacity(summary.layer.shape) - summary.ranges.protected_count());
    const Index index = layer_ / group;
    if (groups == 1) return mean;
    if (rule_.exact) {
      const double last = static_cast<double>(mean) / static_cast<double>(rule_.beta);
      const double first = 2.0 * static_cast<double>(mean) - last;
      const double part = static_cast<double>(index) / static_cast<double>(groups - 1);
      return std::max<Index>(0, static_cast<Index>(std::floor(first + (last - first) * part)));
    }
    const Index last = floor_division(mean * group, rule_.beta);
    const Index first = 2 * mean - last;
    const Index step = floor_division(first - last, groups - 1);
    return std::max<Index>(0, index == groups - 1 ? last : first - index * step);
  }

  AllocationRequest request_;
  LayerGroupsRule rule_;
  Index layer_ = 0;
  std::vector<Index> budgets_;
};

class LayerGroupsAllocator final : public Allocator {
 public:
  explicit LayerGroupsAllocator(const LayerGroupsRule& rule) : rule_(rule) {}
  std::string identity() const override {
    return fmt::format("layer-groups(group={},beta={},exact={})", rule_.group, rule_.beta, rule_.exact);
  }
  std::shared_ptr<const Allocator> uniform_over_layers() const override { return uniform_allocator(); }
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    return std::make_unique<LayerGroupsAllocation>(request, rule_);
  }

 private:
  LayerGroupsRule rule_;
};

}  // namespace

Index layers_in_group(Index layers, Index wanted) {
  if (wanted > 0 && layers % wanted == 0 && layers / wanted >= 2) return wanted;
  Index group = std::max<Index>(1, layers / 4);
  while (layers % group != 0) --group;
  return group;
}

std::shared_ptr<const Allocator> layer_groups_allocator(const LayerGroupsRule& rule) {
  return std::make_shared<LayerGroupsAllocator>(rule);
}

}  // namespace evictlab::sim
