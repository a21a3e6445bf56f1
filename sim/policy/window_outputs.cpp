#include "sim/policy/window_outputs.hpp"

#include <Eigen/Eigenvalues>

#include <vector>

#include "core/fixed_blocking.hpp"
#include "core/parallel.hpp"

namespace evictlab::sim {
namespace {

using trace::Index;

// Everything but the weights' rows.
WindowOutputs with_values(const trace::LayerView& layer, Index query_head, Eigen::MatrixXd weights) {
  core::use_fixed_blocking();
  WindowOutputs head;
  head.first = layer.shape.first_visible();
  head.weights = std::move(weights);
  const Index count = layer.shape.prompt_length - head.first;
  const trace::RowMatrix values =
      layer.values.row_range(head.first, count).copy_head(layer.shape.kv_head_of(query_head));
  head.values = values.transpose().cast<double>();
  head.outputs.noalias() = head.values * head.weights.transpose();
  return head;
}

}  // namespace

Eigen::ArrayXXd squared_distances(const WindowOutputs& head, Index begin, Index count) {
  constexpr double kLost = 1e-6;  // of the sum of both squares: less of it is left than rounding should decide about
  const auto values = head.values.middleCols(begin, count);
  const Eigen::VectorXd outputs = head.outputs.colwise().squaredNorm();
  const Eigen::RowVectorXd norms = values.colwise().squaredNorm();
  Eigen::MatrixXd distances(head.outputs.cols(), count);
  distances.noalias() = -2.0 * (head.outputs.transpose() * values);
  distances.colwise() += outputs;
  distances.rowwise() += norms;
  for (Index j = 0; j < count; ++j) {
    for (Index t = 0; t < distances.rows(); ++t) {
      if (distances(t, j) > kLost * (outputs[t] + norms[j])) continue;
      distances(t, j) = (values.col(j) - head.outputs.col(t)).squaredNorm();
    }
  }
  return distances.array();
}

WindowOutputs window_outputs(const trace::LayerView& layer, Index query_head, Index window) {
  const Index first = layer.shape.first_visible();
  const Index count = layer.shape.prompt_length - first;
  const trace::TensorView rows =
      layer.window_attention.row_range(layer.window_attention.rows() - window, window).column_range(first, count);
  return with_values(layer, query_head, rows.copy_head(query_head).cast<double>());
}

WindowOutputs mass_outputs(const trace::LayerView& layer, Index query_head) {
  const Index first = layer.shape.first_visible();
  const Index count = layer.shape.prompt_length - first;
  Eigen::MatrixXd mass = layer.attention_mass.column_range(first, count).copy_head(query_head).cast<double>();
  const double all = mass.sum();
  if (all > 0.0) mass /= all;
  return with_values(layer, query_head, std::move(mass));
}

Eigen::MatrixXd output_metric(const trace::LayerView& layer, Index query_head) {
  core::use_fixed_blocking();
  const Index d = layer.shape.head_dim;
  const Eigen::MatrixXd weight = layer.output_weight->middleRows(query_head * d, d).cast<double>();
  Eigen::MatrixXd gram(d, d);
  gram.noalias() = weight * weight.transpose();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(gram);
  const Eigen::VectorXd roots = solver.eigenvalues().cwiseMax(0.0).cwiseSqrt();
  return roots.asDiagonal() * solver.eigenvectors().transpose();
}

void score_before_window(const trace::LayerView& layer, Index window, const HeadsToScores& how,
                         trace::RowMatrix& scores, const std::function<Eigen::RowVectorXd(Index, Index)>& of_head) {
  core::use_fixed_blocking();
  const Index first = layer.shape.first_visible();
  const Index count = layer.shape.prompt_length - window - first;
  if (count <= 0) return;
  const Index heads = layer.shape.query_heads / scores.rows();
  core::parallel_for(static_cast<std::size_t>(scores.rows()), [&](std::size_t index) {
    const auto set = static_cast<Index>(index);
    const Eigen::RowVectorXd votes =
        reduced(heads, how.reduction, [&](Index i) { return of_head(set * heads + i, count); });
    scores.row(set).segment(first, count) = pooled(votes, how.kernel, how.pooling).head(count).cast<float>();
  });
}

}  // namespace evictlab::sim
