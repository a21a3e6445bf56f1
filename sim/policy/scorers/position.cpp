// Scores by the order of time alone: the most recent position first, or, without any scores, the earliest.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

class RecencyScorer final : public Scorer {
 public:
  explicit RecencyScorer(Granularity granularity) : granularity_(granularity) {}
  Needs needs() const override { return {}; }
  Granularity granularity() const override { return granularity_; }
  void score(const trace::LayerView& /*layer*/, trace::RowMatrix& scores) const override {
    // Counted from the end: floats hold whole numbers exactly up to 2^24.
    for (Index j = 0; j < scores.cols(); ++j) scores.col(j).setConstant(-static_cast<float>(scores.cols() - 1 - j));
  }

 private:
  Granularity granularity_;
};

}  // namespace

ScorerDefinition recency_scorer() {
  ParameterList parameters;
  parameters.add(axis_parameter());
  return {.description = "the later, the larger (StreamingLLM)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<RecencyScorer>(granularity_from(given)); }};
}

// Selectors take candidates without scores in the order of time.
ScorerDefinition no_scorer() {
  ParameterList parameters;
  parameters.add(axis_parameter());
  return {.description = "earlier positions first", .parameters = parameters, .make = [](const Parameters&) {
            return std::unique_ptr<Scorer>();
          }};
}

}  // namespace evictlab::sim
