// Scores from keys alone, per kv head, position encoding applied:
//
//   small norm   s[j] = -||k_j||_2                        (Devoto et al. 2024, arXiv:2406.11430, section 3)
//   difference   s[j] = -cos(k_j, mean_i k_i / ||k_i||)   (KeyDiff: Park et al. 2025, arXiv:2504.15364, section 3)
//
// the norms bounded below as NVIDIA/kvpress has them. Both judge the positions in sight only.


#include "sim/policy/part.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

using KeyMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

class KeyScorer : public Scorer {
 public:
  Needs needs() const override { return {trace::Field::kKeys, 0, false}; }
  Granularity granularity() const override { return Granularity::kKvHead; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    const Index first = layer.shape.first_visible();
    const Index count = layer.shape.prompt_length - first;
    for (Index head = 0; head < scores.rows(); ++head) {
      const KeyMatrix keys = layer.keys.row_range(first, count).copy_head(head).cast<double>();
      scores.row(head).segment(first, count) = score_keys(keys).transpose().cast<float>();
    }
  }

 private:
  virtual Eigen::VectorXd score_keys(const KeyMatrix& keys) const = 0;
};

class SmallNormScorer final : public KeyScorer {
 private:
  Eigen::VectorXd score_keys(const KeyMatrix& keys) const override { return -keys.rowwise().norm(); }
};

class KeyDifferenceScorer final : public KeyScorer {
 private:
  Eigen::VectorXd score_keys(const KeyMatrix& keys) const override {
    constexpr double kLeastNorm = 1e-12;
    constexpr double kLeastProduct = 1e-8;
    const Eigen::VectorXd norms = keys.rowwise().norm();
    const Eigen::VectorXd weights = norms.cwiseMax(kLeastNorm).cwiseInverse();
    const Eigen::RowVectorXd anchor = (weights.transpose() * keys) / static_cast<double>(keys.rows());
    const Eigen::VectorXd products = (norms * anchor.norm()).cwiseMax(kLeastProduct);
    return -(keys * anchor.transpose()).cwiseQuotient(products);
  }
};

}  // namespace

ScorerDefinition key_norm_scorer() {
  return {.description = "small keys (knorm)",
          .make = [](const Parameters&) { return std::make_unique<SmallNormScorer>(); }};
}

ScorerDefinition key_difference_scorer() {
  return {.description = "keys unlike the others (KeyDiff)",
          .make = [](const Parameters&) { return std::make_unique<KeyDifferenceScorer>(); }};
}

}  // namespace evictlab::sim
