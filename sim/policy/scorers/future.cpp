// The oracle's score: the attention that the future queries really pay a position,
//
//   s[j] = sum over the set's query heads of F_h[j] / sum_j F_h[j],   F_h = future mass of head h
//
// Each head's mass is taken relative to its own sum (T to storage rounding), which is what retained mass is
// measured in, so that ranking by s is optimal for it at given counts.

#include "sim/policy/future.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

class FutureScorer final : public Scorer {
 public:
  explicit FutureScorer(Granularity granularity) : granularity_(granularity) {}
  Needs needs() const override { return {trace::Field::kFutureMass, 0, true}; }
  Granularity granularity() const override { return granularity_; }
  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    scores = future_importance(layer.shape, layer.future->mass, granularity_);
  }

 private:
  Granularity granularity_;
};

}  // namespace

ScorerDefinition future_scorer() {
  ParameterList parameters;
  parameters.add(axis_parameter());
  return {.description = "the attention the future really pays (oracle)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<FutureScorer>(granularity_from(given)); }};
}

}  // namespace evictlab::sim
