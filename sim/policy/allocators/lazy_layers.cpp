// SimLayerKV (Zhang et al. 2024, arXiv:2410.13846, section 3): a layer whose last queries put more than a threshold of
// their attention on the first and the most recent positions is lazy, and keeps these alone; any other keeps
// everything. With p the attention of the last `last` queries, averaged over them and all heads, without the last
// `last` columns:
//
//   lazy if  sum of p over the first `initial` + sum of p over the last `recent` of what is left  >  threshold
//
// Whatever the budget. As in NVIDIA/kvpress: threshold 1 never evicts; nor does it for n <= initial + recent + last.

#include "sim/policy/allocators/layer_share.hpp"
#include "sim/policy/common_parameters.hpp"

namespace evictlab::sim {
namespace {

struct LazyRule {
  double threshold = 0.9;  // of attention on the first and most recent positions; 1: no layer is lazy
  Index initial = 4;
  Index recent = 1024;
  Index last = 1;  // queries looked at
};

bool is_lazy(const trace::LayerView& layer, const LazyRule& rule) {
  const Index n = layer.shape.prompt_length;
  if (rule.threshold >= 1.0 || n <= rule.initial + rule.recent + rule.last) return false;
  const trace::TensorView rows = layer.window_attention.row_range(layer.window_attention.rows() - rule.last, rule.last);
  Eigen::RowVectorXf row(n);
  double mass = 0.0;
  for (Index head = 0; head < layer.shape.query_heads; ++head) {
    for (Index t = 0; t < rule.last; ++t) {
      rows.copy_row(head, t, {row.data(), static_cast<std::size_t>(n)});
      mass += row.head(rule.initial).cast<double>().sum() +
              row.segment(n - rule.last - rule.recent, rule.recent).cast<double>().sum();
    }
  }
  return mass / static_cast<double>(layer.shape.query_heads * rule.last) > rule.threshold;
}

LayerShare lazy_share(const LazyRule& rule) {
  return [rule](const AllocationRequest&, const LayerSummary& summary) {
    return is_lazy(summary.layer, rule) ? summary.ranges.protected_count() : summary.ranges.visible();
  };
}

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
            return layered_allocator(
                lazy_share(rule),
                {.needs = {trace::Field::kWindowAttention, rule.threshold < 1.0 ? rule.last : Index{0}, false},
                 .ignores_budget = true,
                 .protection = Protection{rule.initial, rule.recent - rule.last}});
          }};
}

}  // namespace evictlab::sim
