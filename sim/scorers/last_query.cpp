// What the prompt's last query attends to, averaged over all query heads of the layer: one opinion for the whole layer
// (TOVA: Oren et al. 2024, arXiv:2401.06104, section 3).

#include "sim/parts.hpp"

namespace evictlab::sim {
namespace {

class LastQueryScorer final : public Scorer {
 public:
  std::string identity() const override { return "last-query"; }
  Needs needs() const override { return {trace::Field::kWindowAttention, 1, false}; }
  Granularity granularity() const override { return Granularity::kLayer; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index n = layer.shape.prompt_length;
    Eigen::RowVectorXf row(n);
    Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(n);
    for (Index head = 0; head < layer.shape.query_heads; ++head) {
      layer.window_attention.copy_row(head, layer.window_attention.rows() - 1,
                                      {row.data(), static_cast<std::size_t>(n)});
      sum += row.cast<double>();
    }
    scores.row(0) = (sum / static_cast<double>(layer.shape.query_heads)).cast<float>();
  }
};

}  // namespace

std::shared_ptr<const Scorer> last_query_scorer() { return std::make_shared<LastQueryScorer>(); }

}  // namespace evictlab::sim
