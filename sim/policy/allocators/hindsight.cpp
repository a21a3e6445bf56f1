// The best allocation there is for a policy's ranking, with hindsight: slots go to the kept sets, of all layers, whose
// ranking gains the most future attention by them (what LU-KV, arXiv:2602.08585, learns to predict). Its curves are not
// concave; analysis/allocation.hpp says how close the division is to the best.

#include "sim/policy/allocator.hpp"
#include "sim/policy/future.hpp"
#include "sim/policy/ranked_gains.hpp"

namespace evictlab::sim {
namespace {

std::shared_ptr<const RankedGains> gains_of(const LayerSummary& summary, Granularity granularity) {
  const trace::RowMatrix shares = future_importance(summary.layer.shape, summary.layer.future->mass, granularity);
  return std::make_shared<const RankedGains>(shares, *summary.ranking, summary.ranges);
}

class HindsightAllocation final : public Allocation {
 public:
  HindsightAllocation(const AllocationRequest& request, NoRule /*rule*/) : request_(request) {}

  Index ceiling(const LayerSummary& summary) const override { return summary.ranges.visible(); }

  std::span<const Index> observe(const LayerSummary& summary) override {
    const Index sets = set_count(request_.granularity, summary.layer.shape);
    layers_.push_back(gains_of(summary, request_.granularity));
    total_ += sets * (request_.capacity(summary.layer.shape) - summary.ranges.protected_count());
    protected_.insert(protected_.end(), static_cast<std::size_t>(sets), summary.ranges.protected_count());
    budgets_.insert(budgets_.end(), static_cast<std::size_t>(sets), summary.ranges.visible());
    return budgets_;
  }

  std::span<const Index> finish() override {
    const std::vector<Index> counts = best_allocations(layers_, {&total_, 1}).front().counts;
    for (std::size_t set = 0; set < counts.size(); ++set) budgets_[set] = protected_[set] + counts[set];
    finished_ = true;
    return budgets_;
  }
  bool evicts() const override { return finished_; }

 private:
  AllocationRequest request_;
  Index total_ = 0;  // slots that are not protected
  bool finished_ = false;
  std::vector<std::shared_ptr<const RankedGains>> layers_;
  std::vector<Index> protected_, budgets_;  // [layers so far * sets]: positions
};

}  // namespace

AllocatorDefinition hindsight_allocator() {
  return {
      .description = "the best there is for the ranking, by what the future attends to", .make = [](const Parameters&) {
        return rule_allocator<HindsightAllocation>(
            {.needs = {trace::Field::kFutureMass, 0, true}, .revises = true, .equal_layers = {"uniform"}}, NoRule{});
      }};
}

}  // namespace evictlab::sim
