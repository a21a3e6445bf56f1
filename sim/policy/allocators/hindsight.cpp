// The best allocation there is for a policy's ranking, with hindsight: slots go to the kept sets, of all layers, whose
// ranking gains the most future attention by them (what LU-KV, arXiv:2602.08585, learns to predict). Its curves are not
// concave; analysis/allocation.hpp says how close the division is to the best.

#include "sim/policy/allocators/final_division.hpp"
#include "sim/policy/future.hpp"
#include "sim/policy/ranked_gains.hpp"

namespace evictlab::sim {
namespace {

class HindsightAllocation final : public FinalDivision {
 public:
  HindsightAllocation(const AllocationRequest& request, NoRule /*rule*/) : FinalDivision(request) {}

 private:
  void remember(const LayerSummary& summary, Index /*free_slots*/) override {
    const trace::RowMatrix shares =
        future_importance(summary.layer.shape, summary.layer.future->mass, request().granularity);
    layers_.push_back(std::make_shared<const RankedGains>(shares, *summary.ranking, summary.ranges));
  }

  std::vector<Index> divide(Index total) override { return best_allocations(layers_, {&total, 1}).front().counts; }

  std::vector<std::shared_ptr<const RankedGains>> layers_;
};

}  // namespace

AllocatorDefinition hindsight_allocator() {
  return {.description = "the best there is for the ranking, by what the future attends to",
          .make = [](const Parameters&) {
            return rule_allocator<HindsightAllocation>({.needs = {trace::Field::kFutureMass, 0, true},
                                                        .revises = true,
                                                        .compares_layers = true,
                                                        .equal_layers = {"uniform"}},
                                                       NoRule{});
          }};
}

}  // namespace evictlab::sim
