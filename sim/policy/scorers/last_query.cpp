// What the prompt's last query attends to, averaged over all query heads of the layer: one opinion for the whole layer
// (TOVA: Oren et al. 2024, arXiv:2401.06104, section 3).

#include "analysis/stored_rows.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

class LastQueryScorer final : public Scorer {
 public:
  Needs needs() const override { return {trace::Field::kWindowAttention, 1, false}; }
  Granularity granularity() const override { return Granularity::kLayer; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const trace::TensorView& attention = layer.window_attention;
    Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(layer.shape.prompt_length);
    analysis::with_row_of_heads(attention, attention.rows() - 1, [&](const auto& rows, float factor) {
      core::add_column_sums(rows, static_cast<double>(factor), {sum.data(), static_cast<std::size_t>(sum.size())});
    });
    scores.row(0) = (sum / static_cast<double>(layer.shape.query_heads)).cast<float>();
  }
};

}  // namespace

ScorerDefinition last_query_scorer() {
  return {.description = "attention of the last prompt query, one set per layer (TOVA)",
          .make = [](const Parameters&) { return std::make_unique<LastQueryScorer>(); }};
}

}  // namespace evictlab::sim
