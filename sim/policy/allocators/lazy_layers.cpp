// SimLayerKV (Zhang et al. 2024, arXiv:2410.13846, section 3): a layer whose last queries put more than a threshold of
// their attention on the first and the most recent positions is lazy, and keeps these alone; any other keeps
// everything. With p the attention of the last `last` queries, averaged over them and all heads, without the last
// `last` columns:
//
//   lazy if  sum of p over the first `initial` + sum of p over the last `recent` of what is left  >  threshold
//
// Whatever the budget. As in NVIDIA/kvpress: threshold 1 never evicts; nor does it for n <= initial + recent + last.

#include "sim/policy/allocator.hpp"
#include "sim/policy/common_parameters.hpp"

namespace evictlab::sim {
namespace {

struct LazyRule {
  double threshold = 0.9;  // of attention on the first and most recent positions; 1: no layer is lazy
  Index initial = 4;
  Index recent = 1024;
  Index last = 1;  // queries looked at
};

class LazyAllocation final : public Allocation {
 public:
  LazyAllocation(const AllocationRequest& request, const LazyRule& rule) : request_(request), rule_(rule) {}

  Index ceiling(const LayerSummary& summary) const override {
    return is_lazy(summary.layer) ? summary.ranges.protected_count() : summary.ranges.visible();
  }
  std::span<const Index> observe(const LayerSummary& summary) override {
    const auto sets = static_cast<std::size_t>(set_count(request_.granularity, summary.layer.shape));
    budgets_.insert(budgets_.end(), sets, ceiling(summary));
    return budgets_;
  }
  std::span<const Index> finish() override { return budgets_; }

 private:
  bool is_lazy(const trace::LayerView& layer) const {
    const Index n = layer.shape.prompt_length;
    if (rule_.threshold >= 1.0 || n <= rule_.initial + rule_.recent + rule_.last) return false;
    const trace::TensorView rows =
        layer.window_attention.row_range(layer.window_attention.rows() - rule_.last, rule_.last);
    Eigen::RowVectorXf row(n);
    double mass = 0.0;
    for (Index head = 0; head < layer.shape.query_heads; ++head) {
      for (Index t = 0; t < rule_.last; ++t) {
        rows.copy_row(head, t, {row.data(), static_cast<std::size_t>(n)});
        mass += row.head(rule_.initial).cast<double>().sum() +
                row.segment(n - rule_.last - rule_.recent, rule_.recent).cast<double>().sum();
      }
    }
    return mass / static_cast<double>(layer.shape.query_heads * rule_.last) > rule_.threshold;
  }

  AllocationRequest request_;
  LazyRule rule_;
  std::vector<Index> budgets_;
};

}  // namespace

AllocatorDefinition lazy_layers_allocator() {
  ParameterList parameters;
  parameters.number("threshold", 0.9, {0.0, 1.0}, "of the attention on first and recent positions; 1: no layer is lazy")
      .integer("initial", 4, {0, kMaxPositions}, "first positions that a lazy layer keeps")
      .integer("recent", 1024, {1, kMaxPositions}, "recent positions looked at; a lazy layer keeps recent - last")
      .integer("last", 1, {1, 4096}, "last queries looked at");
  return {.description = "everything, or only what is protected in layers that attend to little else (SimLayerKV)",
          .parameters = parameters,
          .offered = false,
          .make = [](const Parameters& given) {
            const LazyRule rule{.threshold = given.number("threshold"),
                                .initial = given.integer("initial"),
                                .recent = given.integer("recent"),
                                .last = given.integer("last")};
            if (rule.last > rule.recent) {
              throw PolicyError("{}: last must be at most recent ({}), got {}", given.owner(), rule.recent, rule.last);
            }
            return rule_allocator<LazyAllocation>(
                {.needs = {trace::Field::kWindowAttention, rule.threshold < 1.0 ? rule.last : Index{0}, false},
                 .ignores_budget = true,
                 .protection = Protection{rule.initial, rule.recent - rule.last}},
                rule);
          }};
}

}  // namespace evictlab::sim
