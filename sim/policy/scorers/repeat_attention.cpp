// KVzip's score (Kim et al. 2025, arXiv:2505.23416): the largest attention that any query of a pass in which the model
// repeats the prompt pays a position, in any head of the group, as recorded. kvpress scores the first 4 positions 1.

#include <algorithm>

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

class RepeatAttentionScorer final : public Scorer {
 public:
  explicit RepeatAttentionScorer(Index top) : top_(top) {}

  Needs needs() const override { return {trace::Field::kRepeatAttention, 0, false}; }
  Granularity granularity() const override { return Granularity::kKvHead; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    for (Index head = 0; head < scores.rows(); ++head) {
      layer.repeat_attention.copy_row(head, 0, {scores.row(head).data(), static_cast<std::size_t>(scores.cols())});
    }
    scores.leftCols(std::min(top_, scores.cols())).setOnes();
  }

 private:
  Index top_;  // so many first positions score 1
};

}  // namespace

ScorerDefinition repeat_attention_scorer() {
  ParameterList parameters;
  parameters.integer("top", 0, {0, kMaxPositions}, "first positions, which score 1");
  return {
      .description = "the most that a query pays while the model repeats the prompt (KVzip)",
      .parameters = parameters,
      .make = [](const Parameters& given) { return std::make_unique<RepeatAttentionScorer>(given.integer("top")); }};
}

}  // namespace evictlab::sim
