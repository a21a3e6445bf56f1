// What a head's output would change by if one position were dropped. Without position j, with weight A and value v_j,
// an output o = sum A_i v_i renormalises to o + A / (1 - A) (o - v_j). So, for query t of the window,
//
//   c[t, j] = A / (1 - A) * || p(o_t) - p(v_j) ||_2                                     p(x) = x, or x W_O^(h)
//
// is the exact error of dropping j alone. Settings make several methods of it:
//
//   CAOTE     c averaged over the queries (Goel et al. 2025, arXiv:2504.14051); around=mean: o is the values' plain
//   mean
//             (FastCAOTE); weights=mass: one row, the attention mass of all queries over its sum, as a meta-method on
//             H2O
//   DropKV    c^2 added over the window, 1 - A + epsilon, pooled with the window's own positions (kvpress PR 285)
//   ReST-KV   (arXiv:2605.08840, an-yongqi/rest-kv@a8bb112) rows=ema: y = x_0, then alpha x_t + (1 - alpha) y from the
//             oldest row on; norm: c / || p(o_t) ||. average=attention, the published setting, averages the attention
//             first: a_j = mean or ema over t of A[t, j], o' = sum over j < m of a_j v_j (prefix only, not
//             renormalised), s_j = a_j / (1 - a_j) || p(o') - p(v_j) ||^tau
//
// A sum over the rows ranks as their mean does. Where a position has nearly all weight, expanded squares lose every
// digit, and DropKV's code then evicts a sink: such distances are taken of the difference. 1 - A is at least 1e-6, so
// that a recorded weight of 1 has a finite score.

#include <algorithm>
#include <cmath>

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/part.hpp"
#include "sim/policy/pooling.hpp"
#include "sim/policy/scorer.hpp"
#include "sim/policy/window_outputs.hpp"

namespace evictlab::sim {
namespace {

constexpr double kLeastRest = 1e-6;     // of 1 - A
constexpr Index kErrorPositions = 128;  // compared with all rows while they are in the first caches

class OutputErrorScorer final : public Scorer {
 public:
  explicit OutputErrorScorer(const Parameters& given)
      : window_(given.integer("window")),
        kernel_(given.integer("kernel")),
        pooling_(pooling_from(given)),
        mass_(given.choice("weights") == "mass"),
        average_attention_(given.choice("average") == "attention"),
        alpha_(given.choice("rows") == "mean" ? 0.0 : given.number("alpha")),
        exponential_(given.choice("rows") == "ema"),
        squared_(given.integer("exponent") == 2),
        projected_(given.choice("space") == "output"),
        around_mean_(given.choice("around") == "mean"),
        relative_(is_yes(given, "norm")),
        tau_(given.number("tau")),
        epsilon_(given.number("epsilon")),
        reduction_(reduction_from(given)),
        granularity_(granularity_from(given)),
        pools_window_(is_yes(given, "pool_window")) {
    if (exponential_ && alpha_ == 0.0) alpha_ = 2.0 / static_cast<double>(window_ + 1);
  }

  Needs needs() const override {
    const trace::Fields weights = mass_ ? trace::Field::kAttentionMass : trace::Field::kWindowAttention;
    return {weights | trace::Field::kValues, mass_ ? 0 : window_, false, projected_};
  }
  Granularity granularity() const override { return granularity_; }
  Index unscored_tail() const override { return window_; }

  void score(const trace::LayerView& layer, trace::RowMatrix& scores) const override {
    score_before_window(layer, window_, {reduction_, kernel_, pooling_}, scores,
                        [&](Index head, Index prefix) { return head_errors(layer, head, prefix); });
  }

 private:
  // [prefix], or of all visible positions where pooling sees the window too.
  Eigen::RowVectorXd head_errors(const trace::LayerView& layer, Index query_head, Index prefix) const {
    WindowOutputs head = mass_ ? mass_outputs(layer, query_head) : window_outputs(layer, query_head, window_);
    const Index scored = pools_window_ ? head.count() : prefix;
    if (average_attention_) average_rows(head, prefix);
    if (around_mean_) head.outputs.colwise() = head.values.rowwise().mean();
    if (projected_) {
      const Eigen::MatrixXd metric = output_metric(layer, query_head);
      head.values = (metric * head.values).eval();
      head.outputs = (metric * head.outputs).eval();
    }
    Eigen::RowVectorXd errors(scored);
    for (Index begin = 0; begin < scored; begin += kErrorPositions) {
      const Index positions = std::min(kErrorPositions, scored - begin);
      errors.segment(begin, positions) = averaged_errors(head, begin, positions);
    }
    return errors;
  }

  // One row in place of all, whose output is that of the prefix alone.
  void average_rows(WindowOutputs& head, Index prefix) const {
    Eigen::RowVectorXd mean = head.weights.row(0);
    for (Index t = 1; t < head.weights.rows(); ++t) add_row(t, head.weights.row(t), mean);
    if (!exponential_) mean /= static_cast<double>(head.weights.rows());
    head.weights = mean;
    head.outputs = head.values.leftCols(prefix) * mean.head(prefix).transpose();
  }

  // The sum so far, or the exponential mean.
  void add_row(Index t, const Eigen::RowVectorXd& row, Eigen::RowVectorXd& into) const {
    if (t == 0) {
      into = row;
    } else if (exponential_) {
      into = alpha_ * row + (1.0 - alpha_) * into;
    } else {
      into += row;
    }
  }

  Eigen::RowVectorXd averaged_errors(const WindowOutputs& head, Index begin, Index positions) const {
    const Eigen::ArrayXXd square = squared_distances(head, begin, positions);
    const Eigen::ArrayXXd weights = head.weights.middleCols(begin, positions).array();
    Eigen::ArrayXXd rows = weights / (1.0 - weights + epsilon_).max(kLeastRest);
    if (squared_) {
      rows = rows.square() * square;
    } else {
      rows *= tau_ == 1.0 ? Eigen::ArrayXXd(square.sqrt()) : Eigen::ArrayXXd(square.sqrt().pow(tau_));
    }
    if (relative_) {
      const Eigen::ArrayXd lengths = head.outputs.colwise().norm().transpose().array();
      rows.colwise() /= (lengths > 0.0).select(lengths, 1.0);
    }
    if (!exponential_) return rows.colwise().mean();
    Eigen::RowVectorXd errors;
    for (Index t = 0; t < rows.rows(); ++t) add_row(t, rows.row(t).matrix(), errors);
    return errors;
  }

  Index window_;  // the last queries; their own positions are not scored
  Index kernel_;
  Pooling pooling_;
  bool mass_;               // one row of attention mass for the window's
  bool average_attention_;  // of the rows, before errors are taken
  double alpha_;
  bool exponential_;
  bool squared_;
  bool projected_;
  bool around_mean_;
  bool relative_;
  double tau_;
  double epsilon_;
  Reduction reduction_;
  Granularity granularity_;
  bool pools_window_;
};

}  // namespace

ScorerDefinition output_error_scorer() {
  ParameterList parameters;
  parameters.add(voting_window_parameter(32))
      .add(pooling_parameters())
      .choice("weights", {"window", "mass"}, "the window's queries each, or the attention mass of all as one")
      .choice("average", {"errors", "attention"}, "what is averaged over the queries: errors, or attention before them")
      .choice("rows", {"mean", "ema"}, "how: mean or exponential mean, the newest query last")
      .number("alpha", 0.3, {0.0, 1.0}, "weight of the newer query in the exponential mean; 0: 2 / (window + 1)")
      .integer("exponent", 1, {1, 2}, "of an error: its norm or its square")
      .choice("space", {"value", "output"}, "where distances are taken: values, or what W_O makes of them")
      .choice("around", {"attention", "mean"}, "from where: the head's output, or the plain mean of the values")
      .add(yes_no_parameter("norm", false, "relative to the norm of the output"))
      .number("tau", 1.0, {0.0, 16.0}, "power of the distance (exponent=1)")
      .number("epsilon", 0.0, {0.0, 1.0}, "added to 1 - attention")
      .add(reduction_parameter())
      .add(axis_parameter())
      .set_defaults({{"kernel", "1"}});
  ParameterList settings;
  settings.add(yes_no_parameter("pool_window", false, "pool over the window's own positions too"));
  return {.description = "the error in the head's output if one position is dropped (CAOTE, DropKV, ReST-KV)",
          .parameters = parameters,
          .settings = settings,
          .make = [](const Parameters& given) { return std::make_unique<OutputErrorScorer>(given); }};
}

}  // namespace evictlab::sim
