// The kept sets of all layers compete for one budget: after the last layer, the best of all scores take the slots. With
// the future's scores no division retains more. A real cache can only do so if it holds everything until then, which
// is why methods stop at the heads of a layer (Ada-KV, arXiv:2407.11550) or go by what a layer measures (CAKE).

#include <algorithm>

#include "core/select.hpp"
#include "sim/policy/pooled_ranking.hpp"

namespace evictlab::sim {
namespace {

class AllLayersAllocation final : public Allocation {
 public:
  AllLayersAllocation(const AllocationRequest& request, NoRule /*rule*/) : request_(request) {}

  Index ceiling(const LayerSummary& summary) const override { return summary.ranges.visible(); }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const PositionRanges& ranges = summary.ranges;
    layers_.push_back(pooled_ranking_of(summary, TieOrder::kLowerFirst));
    const Index sets = layers_.back()->sets();
    const Index free_slots = sets * (request_.capacity(summary.layer.shape) - ranges.protected_count());
    total_ += free_slots;
    layers_.back()->scores(free_slots * request_.layers);  // sorted while other layers are not in memory yet
    protected_.push_back(ranges.protected_count());
    budgets_.insert(budgets_.end(), static_cast<std::size_t>(sets), ranges.visible());
    return budgets_;
  }

  std::span<const Index> finish() override {
    std::vector<std::shared_ptr<const std::vector<float>>> scores;
    std::vector<std::span<const float>> lists;
    for (const auto& layer : layers_) {
      scores.push_back(layer->scores(total_));
      lists.push_back(
          std::span(*scores.back()).first(std::min(scores.back()->size(), static_cast<std::size_t>(total_))));
    }
    const std::vector<Index> counts = core::counts_of_largest(lists, total_);
    budgets_.clear();
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      for (const Index share : layers_[l]->shares(counts[l])) budgets_.push_back(protected_[l] + share);
    }
    finished_ = true;
    return budgets_;
  }
  bool evicts() const override { return finished_; }

 private:
  AllocationRequest request_;
  Index total_ = 0;  // slots that are not protected
  bool finished_ = false;
  std::vector<std::shared_ptr<const PooledRanking>> layers_;
  std::vector<Index> protected_;  // by layer, positions per kept set
  std::vector<Index> budgets_;    // [layers so far * sets]
};

}  // namespace

AllocatorDefinition all_layers_allocator() {
  return {.description = "heads of all layers compete for one budget, after the last layer",
          .make = [](const Parameters&) {
            return rule_allocator<AllLayersAllocation>({.reads_scores = true,
                                                        .revises = true,
                                                        .equal_layers = {"adaptive", {{"floor_alpha", 0.0}}},
                                                        .statistics = pooled_ranking_statistics(TieOrder::kLowerFirst)},
                                                       NoRule{});
          }};
}

}  // namespace evictlab::sim
