// The kept sets of all layers compete for one budget: after the last layer, the best of all scores take the slots. With
// the future's scores no division retains more. A real cache can only do so if it holds everything until then, which
// is why methods stop at the heads of a layer (Ada-KV, arXiv:2407.11550) or go by what a layer measures (CAKE).

#include <algorithm>

#include "core/select.hpp"
#include "sim/policy/allocators/final_division.hpp"
#include "sim/policy/pooled_ranking.hpp"

namespace evictlab::sim {
namespace {

class AllLayersAllocation final : public FinalDivision {
 public:
  AllLayersAllocation(const AllocationRequest& request, NoRule /*rule*/) : FinalDivision(request) {}

 private:
  void remember(const LayerSummary& summary, Index free_slots) override {
    layers_.push_back(pooled_ranking_of(summary, TieOrder::kLowerFirst));
    layers_.back()->scores(free_slots * request().layers);  // sorted while other layers are not in memory yet
  }

  std::vector<Index> divide(Index total) override {
    std::vector<std::shared_ptr<const std::vector<float>>> scores;
    std::vector<std::span<const float>> lists;
    for (const auto& layer : layers_) {
      scores.push_back(layer->scores(total));
      lists.push_back(
          std::span(*scores.back()).first(std::min(scores.back()->size(), static_cast<std::size_t>(total))));
    }
    const std::vector<Index> of_layers = core::counts_of_largest(lists, total);
    std::vector<Index> counts;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const std::vector<Index> shares = layers_[l]->shares(of_layers[l]);
      counts.insert(counts.end(), shares.begin(), shares.end());
    }
    return counts;
  }

  std::vector<std::shared_ptr<const PooledRanking>> layers_;
};

}  // namespace

AllocatorDefinition all_layers_allocator() {
  return {.description = "heads of all layers compete for one budget, after the last layer",
          .make = [](const Parameters&) {
            return rule_allocator<AllLayersAllocation>({.reads_scores = true,
                                                        .revises = true,
                                                        .compares_layers = true,
                                                        .equal_layers = {"adaptive", {{"floor_alpha", 0.0}}},
                                                        .statistics = pooled_ranking_statistics(TieOrder::kLowerFirst)},
                                                       NoRule{});
          }};
}

}  // namespace evictlab::sim
