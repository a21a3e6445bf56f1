// Shares of the layers, and the allocators that give all kept sets of a layer the same: its share of the budget,
// everything, only what is protected.
//
// PyramidKV's budgets (Cai et al. 2024, arXiv:2406.02069, section 4.2): an arithmetic sequence over the layers, lower
// ones get more. With b = capacity - protected, m candidates of a layer, L layers and slope beta,
//
//   lo = floor(b / beta),  hi = 2 b - lo;   if hi >= m: hi = m, lo = 2 b - hi
//   k_l = hi - l * floor((hi - lo) / (L - 1))
//
// in whole numbers, as FFY0/AdaKV computes it: what the division drops stays with the layers, so that the sum is at
// least L b, by up to L (L - 1) / 2. A layer whose k_l reaches its candidates is kept whole; with b > m the division
// is of a negative number and rounds down. KVCache-Factory gives every layer the flat b when n < 2 b. NVIDIA/kvpress
// computes in real numbers and rounds k_l, which there counts the window, and is flat unless n >= hi >= lo >= window.
// AdaKV's code computes k_l for the first prompt and keeps it for all later ones; here it is computed for each. With
// one layer, where the code divides by zero, that layer gets b.

#include "sim/policy/allocators/layer_share.hpp"

#include <algorithm>
#include <cmath>

#include "sim/policy/common_parameters.hpp"

namespace evictlab::sim {
namespace {

class SharedAllocation final : public Allocation {
 public:
  SharedAllocation(const AllocationRequest& request, LayerShare share) : request_(request), share_(std::move(share)) {}

  Index ceiling(const LayerSummary& summary) const override {
    return std::min(share_(request_, summary), summary.ranges.visible());
  }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const auto sets = static_cast<std::size_t>(set_count(request_.granularity, summary.layer.shape));
    budgets_.insert(budgets_.end(), sets, share_(request_, summary));
    return budgets_;
  }

  std::span<const Index> finish() override { return budgets_; }

 private:
  AllocationRequest request_;
  LayerShare share_;
  std::vector<Index> budgets_;
};

// Candidates of layer l; may exceed m or be negative.
Index whole_share(Index b, Index candidates, Index beta, Index layer, Index layers) {
  Index low = floor_division(b, beta);
  Index high = 2 * b - low;
  if (high >= candidates) {
    high = candidates;
    low = 2 * b - high;
  }
  if (layers == 1) return b;
  return high - layer * floor_division(high - low, layers - 1);
}

// Positions of layer l, protected ones included.
Index real_share(double capacity, Index visible, Index protected_count, Index beta, Index layer, Index layers) {
  const auto window = static_cast<double>(protected_count);
  const auto n = static_cast<double>(visible);
  const double base = (window + capacity) - window;  // as the code has it, rounding included
  double low = base / static_cast<double>(beta);
  double high = base * 2 - low;
  if (high >= n - window) {
    high = n - window;
    low = base * 2 - high;
  }
  const bool pyramid = n >= high && high >= low && low >= window && layers > 1;
  if (!pyramid) return static_cast<Index>(std::nearbyint(capacity));
  const double step = (high - low) / static_cast<double>(layers - 1);
  return static_cast<Index>(std::nearbyint(high - static_cast<double>(layer) * step));
}

PyramidRule pyramid_rule_from(const Parameters& given) {
  const std::string& rule = given.choice("rule");
  return rule == "adakv"     ? PyramidRule::kAdaKv
         : rule == "kvpress" ? PyramidRule::kKvPress
                             : PyramidRule::kKvCacheFactory;
}

}  // namespace

std::unique_ptr<Allocator> layered_allocator(LayerShare share, AllocatorTraits traits) {
  return rule_allocator<SharedAllocation>(std::move(traits), std::move(share));
}

LayerShare uniform_share() {
  return [](const AllocationRequest& request, const LayerSummary& summary) {
    return request.capacity(summary.layer.shape);
  };
}

LayerShare pyramid_share(PyramidRule rule, Index beta) {
  return [rule, beta](const AllocationRequest& request, const LayerSummary& summary) {
    const PositionRanges& ranges = summary.ranges;
    const Index protects = ranges.protected_count();
    const Index layer = summary.layer.shape.layer;
    const Index capacity = request.capacity(summary.layer.shape);
    if (rule == PyramidRule::kKvPress) {
      const double real = request.real_capacity(summary.layer.shape);
      return std::max(protects, real_share(real, ranges.visible(), protects, beta, layer, request.layers));
    }
    const Index b = capacity - protects;
    if (rule == PyramidRule::kKvCacheFactory) {
      if (ranges.visible() < capacity) return ranges.visible();
      if (ranges.visible() < 2 * b) return capacity;
    }
    return protects + std::max<Index>(0, whole_share(b, ranges.candidates(), beta, layer, request.layers));
  };
}

Parameter beta_parameter() {
  return {"beta", std::int64_t{20}, IntegerRange{1, kMaxPositions}, "the last layer gets about 1/beta of the mean"};
}

Parameter floor_alpha_parameter() {
  return {"floor_alpha", 0.2, NumberRange{0.0, 1.0},
          "weight of the uniform budget; in kvpress the part of its capacity a head is guaranteed"};
}

Index blended_count(Index count, double floor_alpha, Index floor_slots) {
  const float product = static_cast<float>(count) * static_cast<float>(1.0 - floor_alpha);
  return static_cast<Index>(std::nearbyint(product + static_cast<float>(floor_slots)));
}

Parameter normalize_parameter() {
  return yes_no_parameter("normalize", false, "weigh a head's scores by how concentrated they are");
}

Parameter skip_parameter() {
  return {"skip", std::int64_t{0}, IntegerRange{0, kMaxPositions}, "first layers in which heads do not compete"};
}

Index guaranteed_positions(double capacity, double floor_alpha) {
  return static_cast<Index>(std::floor(capacity) * floor_alpha);
}

Index layers_in_group(Index layers, Index wanted) {
  if (wanted > 0 && layers % wanted == 0 && layers / wanted >= 2) return wanted;
  Index group = std::max<Index>(1, layers / 4);
  while (layers % group != 0) --group;
  return group;
}

Parameter shared_layers_parameter(std::int64_t layers) {
  return {"shared_layers", layers, IntegerRange{1, kMaxPositions}, "successive layers of a group"};
}

Index floor_division(Index a, Index b) { return a / b - (a % b < 0 ? 1 : 0); }

double floor_division(double a, double b) {
  const double remainder = std::fmod(a, b);
  const double quotient = (a - (remainder < 0.0 ? remainder + b : remainder)) / b;
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

AllocatorDefinition uniform_allocator() {
  return {.description = "every layer and head the same",
          .make = [](const Parameters&) { return layered_allocator(uniform_share(), {}); }};
}

AllocatorDefinition pyramid_allocator() {
  ParameterList parameters;
  parameters.add(beta_parameter());
  ParameterList settings;
  settings.choice("rule", {"adakv", "kvcache-factory", "kvpress"}, "whose arithmetic");
  return {.description = "falling over the layers (PyramidKV)",
          .parameters = parameters,
          .settings = settings,
          .make = [](const Parameters& given) {
            return layered_allocator(pyramid_share(pyramid_rule_from(given), given.integer("beta")),
                                     {.equal_layers = {"uniform"}});
          }};
}

AllocatorDefinition everything_allocator() {
  return {
      .description = "every visible position, whatever the budget", .offered = false, .make = [](const Parameters&) {
        return layered_allocator(
            [](const AllocationRequest&, const LayerSummary& summary) { return summary.ranges.visible(); },
            {.ignores_budget = true, .keeps_everything = true});
      }};
}

AllocatorDefinition protected_allocator() {
  return {.description = "what is protected and nothing else", .offered = false, .make = [](const Parameters&) {
            return layered_allocator(
                [](const AllocationRequest&, const LayerSummary& summary) { return summary.ranges.protected_count(); },
                {.equal_layers = {"uniform"}});
          }};
}

}  // namespace evictlab::sim
