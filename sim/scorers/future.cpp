// The oracle's score: the attention that the future queries really pay a position,
//
//   s[j] = sum over the set's query heads of F_h[j] / sum_j F_h[j],   F_h = future mass of head h
//
// Each head's mass is taken relative to its own sum (T to storage rounding), which is what retained mass is
// measured in, so that ranking by s is optimal for it at given counts.

#include "sim/future.hpp"

#include "sim/parts.hpp"

namespace evictlab::sim {

trace::RowMatrix future_importance(const trace::LayerShape& shape, const trace::TensorView& mass,
                                   Granularity granularity) {
  const Index sets = set_count(granularity, shape);
  const Index heads_per_set = shape.query_heads / sets;
  const Index positions = mass.columns();
  trace::RowMatrix scores(sets, shape.prompt_length);
  Eigen::RowVectorXf row(positions);
  for (Index set = 0; set < sets; ++set) {
    Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(shape.prompt_length);
    for (Index i = 0; i < heads_per_set; ++i) {
      mass.copy_row(set * heads_per_set + i, 0, {row.data(), static_cast<std::size_t>(positions)});
      double total = 0.0;
      for (const float value : row) total += value;
      if (total > 0.0) sum += row.head(shape.prompt_length).cast<double>() / total;
    }
    scores.row(set) = sum.cast<float>();
  }
  return scores;
}

namespace {

class FutureScorer final : public Scorer {
 public:
  explicit FutureScorer(Granularity granularity) : granularity_(granularity) {}
  std::string identity() const override {
    return "future(granularity=" + std::string(granularity_name(granularity_)) + ")";
  }
  Needs needs() const override { return {trace::Field::kFutureMass, 0, true}; }
  Granularity granularity() const override { return granularity_; }
  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    scores = future_importance(layer.shape, layer.future->mass, granularity_);
  }

 private:
  Granularity granularity_;
};

}  // namespace

std::shared_ptr<const Scorer> future_scorer(Granularity granularity) {
  return std::make_shared<FutureScorer>(granularity);
}

}  // namespace evictlab::sim
