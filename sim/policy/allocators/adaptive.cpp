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
#include <cmath>

#include "core/select.hpp"
#include "sim/policy/allocators/layer_share.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/pooled_ranking.hpp"

namespace evictlab::sim {
namespace {

using Scores = trace::RowMatrix;

struct AdaptiveRule {
  LayerShare share = uniform_share();
  bool guarantees = false;  // a part of a set's capacity; else the counts are blended with the uniform share
  TieOrder ties = TieOrder::kLowerFirst;
  double floor_alpha = 0.2;  // the guaranteed part, or the weight of the uniform share; 0..1
  bool normalize = false;    // blend: weigh a set's scores by how concentrated they are
  Index skip = 0;            // so many first layers are uniform
};

// Multiplies each row by the share of its sum that its b highest scores hold.
void normalize_rows(Scores& scores, Index b) {
  for (Index row = 0; row < scores.rows(); ++row) {
    const std::span values(scores.row(row).data(), static_cast<std::size_t>(scores.cols()));
    double highest = 0.0;
    for (const std::uint32_t index : core::top_positions(values, static_cast<std::size_t>(b))) highest += values[index];
    const double all = scores.row(row).cast<double>().sum();
    if (all > 0.0) scores.row(row) *= static_cast<float>(highest / all);
  }
}

// How many of the `total` highest scores each row has, when rows are weighed by how concentrated they are for b: the
// weights, and so the order, depend on the budget.
std::vector<Index> normalized_counts(const LayerSummary& summary, Index total, Index b) {
  Scores scores = summary.importance.scores->middleCols(summary.ranges.candidates_begin, summary.ranges.candidates());
  normalize_rows(scores, b);
  std::vector<Index> counts(static_cast<std::size_t>(scores.rows()), 0);
  const std::span flat(scores.data(), static_cast<std::size_t>(scores.size()));
  for (const std::uint32_t index : core::top_positions(flat, static_cast<std::size_t>(total))) {
    ++counts[static_cast<std::size_t>(static_cast<Index>(index) / scores.cols())];
  }
  return counts;
}

std::vector<Index> blended(const AdaptiveRule& rule, const LayerSummary& summary, Index share) {
  const PositionRanges& ranges = summary.ranges;
  const Index sets = summary.importance.scores->rows();
  const Index b = share - ranges.protected_count();
  if (b > ranges.candidates()) return std::vector<Index>(static_cast<std::size_t>(sets), ranges.visible());
  const auto floor_slots = static_cast<Index>(static_cast<double>(b) * rule.floor_alpha);
  std::vector<Index> budgets = rule.normalize ? normalized_counts(summary, sets * b, b)
                                              : pooled_ranking_of(summary, TieOrder::kLowerFirst)->shares(sets * b);
  const auto adaptive = static_cast<float>(1.0 - rule.floor_alpha);
  for (Index& budget : budgets) {
    const float product = static_cast<float>(budget) * adaptive;
    budget = ranges.protected_count() + static_cast<Index>(std::nearbyint(product + static_cast<float>(floor_slots)));
  }
  return budgets;
}

std::vector<Index> guaranteed(const AdaptiveRule& rule, const LayerSummary& summary, Index share, Index guarantee) {
  const PositionRanges& ranges = summary.ranges;
  const Index sets = summary.importance.scores->rows();
  const Index b = share - ranges.protected_count();
  if (b >= ranges.candidates()) return std::vector<Index>(static_cast<std::size_t>(sets), ranges.visible());
  std::vector<Index> budgets = pooled_ranking_of(summary, rule.ties)->shares(sets * b, guarantee);
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
    return std::min(summary.ranges.visible(), summary.ranges.protected_count() + sets * b + 1);
  }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const Index share = std::min(rule_.share(request_, summary),
                                 summary.ranges.visible() + 1);  // more than all is still told from all
    if (summary.layer.shape.layer < rule_.skip) {
      const auto sets = static_cast<std::size_t>(set_count(request_.granularity, summary.layer.shape));
      budgets_.insert(budgets_.end(), sets, std::min(share, summary.ranges.visible()));
    } else {
      const std::vector<Index> own = rule_.guarantees
                                         ? guaranteed(rule_, summary, share, guarantee(share, summary.ranges))
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

Parameter skip_parameter() {
  return {"skip", std::int64_t{0}, IntegerRange{0, kMaxPositions}, "first layers in which heads do not compete"};
}

ParameterList blending_parameters() {
  ParameterList parameters;
  return parameters.add(floor_alpha_parameter())
      .add(yes_no_parameter("normalize", false, "weigh a head's scores by how concentrated they are"))
      .add(skip_parameter());
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
  settings.choice("ties", {"lower", "higher"}, "which position stays of equal scores at the cut").add(skip_parameter());
  return {
      .description = "heads compete for what no head is guaranteed (kvpress AdaKV)",
      .parameters = parameters,
      .settings = settings,
      .make = [](const Parameters& given) {
        return allocator_by({.guarantees = true,
                             .ties = given.choice("ties") == "higher" ? TieOrder::kHigherFirst : TieOrder::kLowerFirst,
                             .floor_alpha = given.number("floor_alpha"),
                             .skip = given.integer("skip")});
      }};
}

}  // namespace evictlab::sim
