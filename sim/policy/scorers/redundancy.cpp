// R-KV's score (Cai et al. 2025, arXiv:2505.24133; Zefan-Cai/R-KV@d15c976): attention of the last w queries against how
// much a key repeats others. Per kv head g, m = n - w,
//
//   z[t, j] = max over the group of q_h[t]·k_j scale,   a = max over `kernel` neighbours of the mean over t of
//             softmax over j < m of z[t, :]             (the window takes no mass)
//   C[i, j] = cos(k_i, k_j), 0 where i = j;   each row i exempts its last j with C[i, j] > 1/2, or column 0 without one
//   u[j]    = mean over all n rows i of C[i, j], the exempt ones 0
//   s[j]    = lambda a[j] - (1 - lambda) softmax over all n of u[j]
//
// Rows are not causal: j may lie behind i. exempt=first is column 0 in every row, as the code's minimum over zeros has
// it. The threshold is a hard cut, so pairs within rounding of it may fall otherwise than in the code. n^2 d products a
// head.

#include <algorithm>
#include <vector>

#include "core/fixed_blocking.hpp"
#include "core/parallel.hpp"
#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/pooling.hpp"
#include "sim/policy/scorer.hpp"

namespace evictlab::sim {
namespace {

constexpr double kLeastKeyNorm = 1e-8;  // added to norms
constexpr float kSimilar = 0.5F;
constexpr Index kSimilarRows = 256;  // of C at a time

Eigen::RowVectorXd softmax(const Eigen::RowVectorXd& logits) {
  const Eigen::RowVectorXd weights = (logits.array() - logits.maxCoeff()).exp();
  return weights / weights.sum();
}

class RedundancyScorer final : public Scorer {
 public:
  explicit RedundancyScorer(const Parameters& given)
      : window_(given.integer("window")),
        kernel_(given.integer("kernel")),
        lambda_(given.number("lambda")),
        exempts_first_(given.choice("exempt") == "first") {}

  Needs needs() const override { return {trace::Field::kQueries | trace::Field::kKeys, window_, false}; }
  Granularity granularity() const override { return Granularity::kKvHead; }
  Index unscored_tail() const override { return window_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    core::use_fixed_blocking();
    const Index first = layer.shape.first_visible();
    const Index count = layer.shape.prompt_length - first;
    const Index prefix = count - window_;
    if (prefix <= 0) return;
    core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t index) {
      const auto head = static_cast<Index>(index);
      const trace::RowMatrix keys = layer.keys.row_range(first, count).copy_head(head);
      const Eigen::RowVectorXd attention =
          pooled(prefix_attention(layer, head, keys.topRows(prefix)), kernel_, Pooling::kMax);
      const Eigen::RowVectorXd similarity = softmax(mean_similarity(keys));
      scores.row(head).segment(first, prefix) =
          (lambda_ * attention - (1.0 - lambda_) * similarity.head(prefix)).cast<float>();
    });
  }

 private:
  Eigen::RowVectorXd prefix_attention(const trace::LayerView& layer, Index kv_head,
                                      const Eigen::Ref<const trace::RowMatrix>& keys) const {
    const Index group = layer.shape.group_size();
    const Eigen::MatrixXd columns = keys.cast<double>().transpose();
    const trace::TensorView queries = layer.window_queries.row_range(layer.window_queries.rows() - window_, window_);
    Eigen::MatrixXd logits;
    for (Index i = 0; i < group; ++i) {
      const Eigen::MatrixXd own =
          layer.shape.attention_scale * (queries.copy_head(kv_head * group + i).cast<double>() * columns);
      logits = i == 0 ? own : logits.cwiseMax(own).eval();
    }
    Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(keys.rows());
    for (Index t = 0; t < window_; ++t) mean += softmax(logits.row(t));
    return mean / static_cast<double>(window_);
  }

  Eigen::RowVectorXd mean_similarity(const trace::RowMatrix& keys) const {
    const Index n = keys.rows();
    const Eigen::VectorXd norms = keys.cast<double>().rowwise().norm().array() + kLeastKeyNorm;
    const trace::RowMatrix units = (keys.cast<double>().array().colwise() / norms.array()).matrix().cast<float>();
    const Index blocks = (n - 1) / kSimilarRows + 1;
    std::vector<Eigen::RowVectorXd> sums(static_cast<std::size_t>(blocks));
    core::parallel_for(sums.size(), [&](std::size_t block) {
      const Index begin = static_cast<Index>(block) * kSimilarRows;
      trace::RowMatrix similarity = units.middleRows(begin, std::min(kSimilarRows, n - begin)) * units.transpose();
      sums[block] = Eigen::RowVectorXd::Zero(n);
      for (Index i = 0; i < similarity.rows(); ++i) {
        similarity(i, begin + i) = 0.0F;
        similarity(i, exempt_column(similarity.row(i))) = 0.0F;
        sums[block] += similarity.row(i).cast<double>();
      }
    });
    for (std::size_t block = 1; block < sums.size(); ++block) sums.front() += sums[block];
    return sums.front() / static_cast<double>(n);
  }

  template <typename Row>
  Index exempt_column(const Row& row) const {
    Index column = exempts_first_ ? 0 : row.size() - 1;
    while (column > 0 && !(row[column] > kSimilar)) --column;
    return column;
  }

  Index window_;  // the last queries; their own positions are not scored
  Index kernel_;
  double lambda_;
  bool exempts_first_;
};

}  // namespace

ScorerDefinition redundancy_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(8))
      .integer("kernel", 7, {1, 255, true}, "positions whose largest attention counts")
      .add({"lambda", 0.07, NumberRange{0.0, 1.0}, "weight of the attention against that of the redundancy",
            "mix_lambda"})
      .choice("exempt", {"last", "first"},
              "of the keys like it, which one a key does not count: the last, or position 0");
  return {.description = "attention of the last prompt queries less what other keys repeat (R-KV)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<RedundancyScorer>(given); }};
}

}  // namespace evictlab::sim
