// SimLayerKV (Zhang et al. 2024, arXiv:2410.13846, section 3): a layer whose last queries put more than a threshold of
// their attention on the first and the most recent positions is lazy, and keeps these alone; any other keeps
// everything. With p the attention of the last `last` queries, averaged over them and all heads, without the last
// `last` columns:
//
//   lazy if  sum of p over the first `initial` + sum of p over the last `recent` of what is left  >  threshold
//
// Whatever the budget. As in NVIDIA/kvpress: threshold 1 never evicts; nor does it for n <= initial + recent + last.

#include <fmt/format.h>

#include "sim/policy/parts.hpp"

namespace evictlab::sim {
namespace {

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

class LazyAllocator final : public Allocator {
 public:
  explicit LazyAllocator(const LazyRule& rule) : rule_(rule) {}
  std::string identity() const override {
    return fmt::format("lazy-layers(threshold={},initial={},recent={},last={})", rule_.threshold, rule_.initial,
                       rule_.recent, rule_.last);
  }
  Needs needs() const override {
    return {trace::Field::kWindowAttention, rule_.threshold < 1.0 ? rule_.last : Index{0}, false};
  }
  bool ignores_budget() const override { return true; }
  std::unique_ptr<Allocation> begin(const AllocationRequest& request) const override {
    return std::make_unique<LazyAllocation>(request, rule_);
  }

 private:
  LazyRule rule_;
};

}  // namespace

std::shared_ptr<const Allocator> lazy_allocator(const LazyRule& rule) { return std::make_shared<LazyAllocator>(rule); }

}  // namespace evictlab::sim
