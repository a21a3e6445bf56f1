// OBCache's scores (arXiv:2510.07651, propositions 4.3 to 4.5, from a public note on the paper; nothing was run): the
// squared first-order response of a head's output to shrinking a position's value, key, or both towards zero. With the
// window's queries i, Z the logits and o_i the output,
//
//   value   sum_i A_ip^2 || v_p ||^2
//   key     sum_i (A_ip Z_ip)^2 || v_p - o_i ||^2
//   joint   sum_i A_ip^2 || v_p + Z_ip (v_p - o_i) ||^2     which multiplied out is the paper's sum of three terms
//
// Z is scaled as in the softmax, which the note leaves open. A key of zero is a logit of 0, not an absent position: the
// score is no error of eviction. Per kv head the mean over the group, which is ours; the paper's is not known.

#include <algorithm>

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/pooling.hpp"
#include "sim/policy/scorer.hpp"
#include "sim/policy/window_outputs.hpp"

namespace evictlab::sim {
namespace {

constexpr Index kResponsePositions = 128;

class OutputResponseScorer final : public Scorer {
 public:
  explicit OutputResponseScorer(const Parameters& given)
      : window_(given.integer("window")),
        kernel_(given.integer("kernel")),
        pooling_(pooling_from(given)),
        shrinks_value_(given.choice("shrink") != "key"),
        shrinks_key_(given.choice("shrink") != "value"),
        reduction_(reduction_from(given)),
        granularity_(granularity_from(given)) {}

  Needs needs() const override {
    trace::Fields fields = trace::Field::kWindowAttention | trace::Field::kValues;
    if (shrinks_key_) fields |= trace::Field::kQueries | trace::Field::kKeys;
    return {fields, window_, false};
  }
  Granularity granularity() const override { return granularity_; }
  Index unscored_tail() const override { return window_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    score_before_window(layer, window_, {reduction_, kernel_, pooling_}, scores,
                        [&](Index head, Index prefix) { return response(layer, head, prefix); });
  }

 private:
  Eigen::RowVectorXd response(const trace::LayerView& layer, Index query_head, Index prefix) const {
    const WindowOutputs head = window_outputs(layer, query_head, window_);
    Eigen::MatrixXd logits;  // [window, prefix]
    if (shrinks_key_) {
      const trace::TensorView queries = layer.window_queries.row_range(layer.window_queries.rows() - window_, window_);
      const trace::TensorView keys = layer.keys.row_range(head.first, prefix);
      logits.noalias() = queries.copy_head(query_head).cast<double>() *
                         keys.copy_head(layer.shape.kv_head_of(query_head)).cast<double>().transpose();
      logits *= layer.shape.attention_scale;
    }
    Eigen::RowVectorXd sum(prefix);
    for (Index begin = 0; begin < prefix; begin += kResponsePositions) {
      const Index count = std::min(kResponsePositions, prefix - begin);
      const Eigen::ArrayXXd norms =
          head.values.middleCols(begin, count).colwise().squaredNorm().replicate(window_, 1).array();
      Eigen::ArrayXXd moved = shrinks_value_ ? norms : Eigen::ArrayXXd::Zero(window_, count);
      if (shrinks_key_) {
        const Eigen::ArrayXXd z = logits.middleCols(begin, count).array();
        const Eigen::ArrayXXd distances = squared_distances(head, begin, count);
        moved += z.square() * distances;
        // 2 z v·(v - o), the product from the three squares.
        if (shrinks_value_) {
          const Eigen::ArrayXd outputs = head.outputs.colwise().squaredNorm().transpose().array();
          moved += z * ((norms + distances).colwise() - outputs);
        }
      }
      const auto weights = head.weights.middleCols(begin, count).array();
      sum.segment(begin, count) = (weights.square() * moved).colwise().sum().matrix();
    }
    return sum;
  }

  Index window_;  // the last queries; their own positions are not scored
  Index kernel_;
  Pooling pooling_;
  bool shrinks_value_;
  bool shrinks_key_;
  Reduction reduction_;
  Granularity granularity_;
};

}  // namespace

ScorerDefinition output_response_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(32))
      .add(pooling_parameters())
      .choice("shrink", {"key", "value", "joint"}, "what is shrunk: the position's key, its value, or both")
      .add(reduction_parameter())
      .add(axis_parameter());
  return {.description = "response of the head's output to shrinking a position's key or value (OBCache)",
          .parameters = parameters,
          .make = [](const Parameters& given) { return std::make_unique<OutputResponseScorer>(given); }};
}

}  // namespace evictlab::sim
