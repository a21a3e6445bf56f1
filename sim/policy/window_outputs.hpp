#pragma once

#include <Eigen/Core>

#include <functional>

#include "sim/policy/pooling.hpp"
#include "trace/layer.hpp"

namespace evictlab::sim {

/// What some queries see of a head and what comes out, for scorers that ask how an output would change. Over the
/// `count` positions from `first` on, which all the queries' weights lie in.
struct WindowOutputs {
  trace::Index first = 0;
  Eigen::MatrixXd weights;  // [rows, count]: of each query, oldest first
  Eigen::MatrixXd values;   // [d, count]: column j is value first + j
  Eigen::MatrixXd outputs;  // [d, rows]: the head's output for each query, sum over all j of weight * value

  trace::Index count() const { return values.cols(); }
};

/// [rows, count]: || value_j - output_t ||^2 for the `count` values from column `begin` on. From a product of all
/// values and outputs; where that would lose more than six digits, of the difference itself.
Eigen::ArrayXXd squared_distances(const WindowOutputs& head, trace::Index begin, trace::Index count);

/// Of the last `window` recorded queries of a query head, over all visible positions.
WindowOutputs window_outputs(const trace::LayerView& layer, trace::Index query_head, trace::Index window);
/// One row in place of the window's: the head's attention mass over all prompt queries, divided by its sum.
WindowOutputs mass_outputs(const trace::LayerView& layer, trace::Index query_head);

/// How what query heads say becomes the scores of the set that they share.
struct HeadsToScores {
  Reduction reduction;
  trace::Index kernel;
  Pooling pooling;
};
/// Scores the visible positions before the window, [sets, n] of `scores`: reduces `of_head(query head, count)` over the
/// heads of each set, pools, and takes the first `count` of what comes out.
void score_before_window(const trace::LayerView& layer, trace::Index window, const HeadsToScores& how,
                         trace::RowMatrix& scores,
                         const std::function<Eigen::RowVectorXd(trace::Index, trace::Index)>& of_head);

/// A matrix M [d, d] with || M x ||_2 = || x W_O^(h) ||_2 for every x: distances of what the head adds to the layer's
/// output, taken in d dimensions. A square root of W_O^(h) W_O^(h)^T; small differences of x stay exact.
Eigen::MatrixXd output_metric(const trace::LayerView& layer, trace::Index query_head);

}  // namespace evictlab::sim
