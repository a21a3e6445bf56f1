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

#include "sim/policy/allocators/layer_share.hpp"
#include "sim/policy/common_parameters.hpp"

namespace evictlab::sim {
namespace {

struct LayerGroupsRule {
  Index group = 8;  // layers of a group
  Index beta = 14;
  bool exact = false;  // the paper's form
};

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
    const Index index = summary.layer.shape.layer / group;
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
  std::vector<Index> budgets_;
};

}  // namespace

AllocatorDefinition layer_groups_allocator() {
  ParameterList parameters;
  parameters.add(shared_layers_parameter(8))
      .integer("beta", 14, {1, kMaxPositions}, "how steeply budgets fall over the groups")
      .add(exact_parameter());
  return {.description = "falling over groups of layers (WindowKV)",
          .parameters = parameters,
          .make = [](const Parameters& given) {
            return rule_allocator<LayerGroupsAllocation>({.equal_layers = {"uniform"}},
                                                         LayerGroupsRule{.group = given.integer("shared_layers"),
                                                                         .beta = given.integer("beta"),
                                                                         .exact = is_yes(given, "exact")});
          }};
}

}  // namespace evictlab::sim
