// Budgets that heads of a layer compete for (Ada-KV: Feng et al. 2024, arXiv:2407.11550, algorithm 1): of the layer's
// N sets with m candidates each, the N b highest scores are taken together, and c_i, how many of them are set i's,
// becomes its share. b = the layer's share per set less what is protected.
//
// FFY0/AdaKV and KVCache-Factory blend c_i with the uniform b by floor_alpha = f, in float32, halves to even:
//
//   B_i = rint( c_i (1 - f) + int(b f) )          sum B_i differs from N b by what int and rint drop
//
// after multiplying, where normalize is on, set i's scores by (sum of its b highest) / (sum of all). b > m keeps
// everything. The first `skip` layers get the uniform b.
//
// NVIDIA/kvpress instead guarantees every set its int(K f) best positions, the protected ones first, K being its
// capacity; the rest competes. The total is exactly N K. It evicts from the bottom, so that of equal scores at the cut
// the higher position stays; CriticalAdaKV takes from the top, where the lower one does.

#include <algorithm>

#include "sim/policy/allocators/layer_share.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/pooled_ranking.hpp"

namespace evictlab::sim {
namespace {

struct AdaptiveRule {
  LayerShare share = uniform_share();
  bool real_total = false;  // guarantees: the layer's slots are rounded down together, not every set's
  bool guarantees = false;  // a part of a set's capacity; else the counts are blended with the uniform share
  TieOrder ties = TieOrder::kLowerFirst;
  double floor_alpha = 0.2;  // the guaranteed part, or the weight of the uniform share; 0..1
  bool normalize = false;    // blend: weigh a set's scores by how concentrated they are
  Index skip = 0;            // so many first layers are uniform
};

// How many of the `total` best scores are each set's. Weighed for b, their order depends on the budget.
std::vector<Index> competing_shares(const AdaptiveRule& rule, const LayerSummary& summary, Index total, Index b) {
  if (!rule.normalize) return pooled_ranking_of(summary, TieOrder::kLowerFirst)->shares(total);
  auto weighed = weighed_by_concentration(*summary.importance.scores, summary.ranges, b);
  return PooledRanking(std::move(weighed), summary.ranges, TieOrder::kLowerFirst).shares(total);
}

std::vector<Index> blended(const AdaptiveRule& rule, const LayerSummary& summary, Index share) {
  const PositionRanges& ranges = summary.ranges;
  const Index sets = summary.importance.scores->rows();
  const Index b = share - ranges.protected_count();
  if (b > ranges.candidates()) return std::vector<Index>(static_cast<std::size_t>(sets), ranges.visible());
  const auto floor_slots = static_cast<Index>(static_cast<double>(b) * rule.floor_alpha);
  std::vector<Index> budgets = competing_shares(rule, summary, sets * b, b);
  for (Index& budget : budgets) {
    budget = ranges.protected_count() + blended_count(budget, rule.floor_alpha, floor_slots);
  }
  return budgets;
}

std::vector<Index> guaranteed(const AdaptiveRule& rule, const LayerSummary& summary, Index share, Index guarantee,
                              Index total) {
  const PositionRanges& ranges = summary.ranges;
  const Index sets = summary.importance.scores->rows();
  const Index b = share - ranges.protected_count();
  if (b >= ranges.candidates()) return std::vector<Index>(static_cast<std::size_t>(sets), ranges.visible());
  std::vector<Index> budgets = pooled_ranking_of(summary, rule.ties)->shares(total, guarantee);
  for (Index& budget : budgets) budget += ranges.protected_count();
  return budgets;
}

class AdaptiveAllocation final : public Allocation {
 public:
  AdaptiveAllocation(const AllocationRequest& request, const AdaptiveRule& rule) : request_(request), rule_(rule) {}

  Index ceiling(const LayerSummary& summary) const override {
    const auto sets = set_count(request_.granularity, summary.layer.shape);
    const Index b = rule_.share(request_, summary) - summary.ranges.protected_count();
    if (b >= summary.ranges.candidates()) return summary.ranges.visible();
    return std::min(summary.ranges.visible(), summary.ranges.protected_count() + sets * (b + 1));
  }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const Index share = std::min(rule_.share(request_, summary),
                                 summary.ranges.visible() + 1);  // more than all is still told from all
    const Index sets = set_count(request_.granularity, summary.layer.shape);
    if (summary.layer.shape.layer < rule_.skip) {
      budgets_.insert(budgets_.end(), static_cast<std::size_t>(sets), std::min(share, summary.ranges.visible()));
    } else {
      const Index slots = rule_.real_total ? request_.total(summary.layer.shape, sets) : sets * share;
      const Index total = slots - sets * summary.ranges.protected_count();
      const std::vector<Index> own = rule_.guarantees
                                         ? guaranteed(rule_, summary, share, guarantee(share, summary.ranges), total)
                                         : blended(rule_, summary, share);
      budgets_.insert(budgets_.end(), own.begin(), own.end());
    }
    return budgets_;
  }

  std::span<const Index> finish() override { return budgets_; }

 private:
  Index guarantee(Index share, const PositionRanges& ranges) const {
    return std::max<Index>(
        0, guaranteed_positions(static_cast<double>(share), rule_.floor_alpha) - ranges.protected_count());
  }

  AllocationRequest request_;
  AdaptiveRule rule_;
  std::vector<Index> budgets_;
};

std::unique_ptr<Allocator> allocator_by(const AdaptiveRule& rule, PartChoice equal_layers = {}) {
  AllocatorTraits traits{.reads_scores = true, .equal_layers = std::move(equal_layers)};
  if (!rule.normalize) traits.statistics = pooled_ranking_statistics(rule.ties);
  return rule_allocator<AdaptiveAllocation>(std::move(traits), rule);
}

AdaptiveRule blending_rule_from(const Parameters& given) {
  return {.floor_alpha = given.number("floor_alpha"),
          .normalize = is_yes(given, "normalize"),
          .skip = given.integer("skip")};
}

ParameterList blending_parameters() {
  ParameterList parameters;
  return parameters.add(floor_alpha_parameter()).add(normalize_parameter()).add(skip_parameter());
}

}  // namespace

AllocatorDefinition adaptive_allocator() {
  return {.description = "heads of a layer compete (Ada-KV)",
          .parameters = blending_parameters(),
          .make = [](const Parameters& given) { return allocator_by(blending_rule_from(given)); }};
}

AllocatorDefinition adaptive_pyramid_allocator() {
  ParameterList parameters = blending_parameters();
  parameters.add(beta_parameter());
  return {.description = "falling over the layers, heads compete (Ada-Pyramid)",
          .parameters = parameters,
          .make = [](const Parameters& given) {
            AdaptiveRule rule = blending_rule_from(given);
            rule.share = pyramid_share(PyramidRule::kAdaKv, given.integer("beta"));
            PartChoice equal_layers{"adaptive"};
            for (const char* name : {"floor_alpha", "normalize", "skip"}) {
              equal_layers.settings.emplace_back(name, given.value(name));
            }
            return allocator_by(rule, equal_layers);
          }};
}

AllocatorDefinition guaranteed_allocator() {
  ParameterList parameters;
  parameters.add(floor_alpha_parameter());
  ParameterList settings;
  settings.choice("ties", {"lower", "higher"}, "which position stays of equal scores at the cut")
      .add(skip_parameter())
      .add(yes_no_parameter("real", false, "round the layer's slots down together"));
  return {
      .description = "heads compete for what no head is guaranteed (kvpress AdaKV)",
      .parameters = parameters,
      .settings = settings,
      .make = [](const Parameters& given) {
        return allocator_by({.real_total = is_yes(given, "real"),
                             .guarantees = true,
                             .ties = given.choice("ties") == "higher" ? TieOrder::kHigherFirst : TieOrder::kLowerFirst,
                             .floor_alpha = given.number("floor_alpha"),
                             .skip = given.integer("skip")});
      }};
}

}  // namespace evictlab::sim
