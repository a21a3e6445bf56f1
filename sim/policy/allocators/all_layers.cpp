// The kept sets of all layers compete for one budget: after the last layer, the best of all scores take the slots. With
// the future's scores no division retains more. A real cache can only do so if it holds everything until then, which
// is why methods stop at the heads of a layer (Ada-KV, arXiv:2407.11550) or go by what a layer measures (CAKE).

#include "sim/policy/allocators/all_layers.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "core/select.hpp"
#include "sim/policy/allocators/final_division.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/pooled_ranking.hpp"

namespace evictlab::sim {
namespace {

class AllLayersAllocation final : public FinalDivision {
 public:
  AllLayersAllocation(const AllocationRequest& request, const AllLayersRule& rule)
      : FinalDivision(request, rule.real_total), rule_(rule) {}

 private:
  void remember(const LayerSummary& summary, Index free_slots) override {
    if (rule_.scores) {
      layers_.push_back(std::make_shared<const PooledRanking>(
          rule_.scores(summary, request().real_capacity(summary.layer.shape)), summary.ranges, rule_.ties));
    } else {
      layers_.push_back(pooled_ranking_of(summary, rule_.ties));
    }
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
    const std::vector<Index> of_layers = counts_of(lists, total);
    std::vector<Index> counts;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      const std::vector<Index> shares = layers_[l]->shares(of_layers[l]);
      counts.insert(counts.end(), shares.begin(), shares.end());
    }
    return counts;
  }

  // How many of the best of all layers, in the order of each, are each layer's.
  std::vector<Index> counts_of(std::vector<std::span<const float>>& lists, Index total) const {
    const bool higher = rule_.ties == TieOrder::kHigherFirst;
    if (higher) std::ranges::reverse(lists);
    std::vector<Index> counts = core::counts_of_largest(lists, total);
    if (rule_.strict && std::accumulate(counts.begin(), counts.end(), Index{0}) < candidates()) {
      float last = std::numeric_limits<float>::infinity();
      for (std::size_t l = 0; l < lists.size(); ++l) {
        if (counts[l] > 0) last = std::min(last, lists[l][static_cast<std::size_t>(counts[l] - 1)]);
      }
      for (std::size_t l = 0; l < lists.size(); ++l) {
        const auto own = lists[l].first(static_cast<std::size_t>(counts[l]));
        counts[l] = std::ranges::lower_bound(own, last, std::ranges::greater{}) - own.begin();
      }
    }
    if (higher) std::ranges::reverse(counts);
    return counts;
  }

  Index candidates() const {
    Index all = 0;
    for (const auto& layer : layers_) all += layer->candidates();
    return all;
  }

  AllLayersRule rule_;
  std::vector<std::shared_ptr<const PooledRanking>> layers_;
};

}  // namespace

std::unique_ptr<Allocator> all_layers_competition(const AllLayersRule& rule, PartChoice equal_layers) {
  AllocatorTraits traits{
      .reads_scores = true, .revises = true, .compares_layers = true, .equal_layers = std::move(equal_layers)};
  if (!rule.scores) traits.statistics = pooled_ranking_statistics(rule.ties);
  return rule_allocator<AllLayersAllocation>(std::move(traits), rule);
}

AllocatorDefinition all_layers_allocator() {
  ParameterList settings;
  settings.choice("ties", {"lower", "higher"}, "which position stays of equal scores at the cut")
      .add(yes_no_parameter("strict", false, "keep only what scores above the last slot's"))
      .add(yes_no_parameter("real", false, "round slots down for all layers together"));
  return {.description = "heads of all layers compete for one budget, after the last layer",
          .settings = settings,
          .make = [](const Parameters& given) {
            return all_layers_competition(
                {.ties = given.choice("ties") == "higher" ? TieOrder::kHigherFirst : TieOrder::kLowerFirst,
                 .real_total = is_yes(given, "real"),
                 .strict = is_yes(given, "strict")},
                {"adaptive", {{"floor_alpha", 0.0}}});
          }};
}

}  // namespace evictlab::sim
