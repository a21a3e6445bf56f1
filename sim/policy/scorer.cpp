#include "sim/policy/scorer.hpp"

#include <fmt/format.h>

namespace evictlab::sim {
namespace {

// Averages the scores of kept sets that now share one: what a deployment with one block table per layer, or per kv
// head, makes of a method that selects more finely.
class SharedScorer final : public Scorer {
 public:
  SharedScorer(std::shared_ptr<const Scorer> scorer, Granularity granularity)
      : scorer_(std::move(scorer)), granularity_(granularity) {
    set_identity(fmt::format("{} shared per {}", scorer_->identity(), granularity_words(granularity_)));
  }
  Needs needs() const override { return scorer_->needs(); }
  Granularity granularity() const override { return granularity_; }
  Index unscored_tail() const override { return scorer_->unscored_tail(); }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index finer = set_count(scorer_->granularity(), layer.shape);
    trace::RowMatrix own = trace::RowMatrix::Constant(finer, scores.cols(), scores(0, 0));
    scorer_->score(layer, own);
    const Index together = finer / scores.rows();
    for (Index set = 0; set < scores.rows(); ++set) {
      const auto rows = own.middleRows(set * together, together).cast<double>();
      scores.row(set) = (rows.colwise().sum() / static_cast<double>(together)).cast<float>();
    }
  }

 private:
  std::shared_ptr<const Scorer> scorer_;
  Granularity granularity_;
};

}  // namespace

std::shared_ptr<const Scorer> shared_scorer(std::shared_ptr<const Scorer> scorer, Granularity granularity) {
  return std::make_shared<SharedScorer>(std::move(scorer), granularity);
}

}  // namespace evictlab::sim
