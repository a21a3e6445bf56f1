#pragma once

#include <Eigen/Core>

#include <span>

#include "trace/tensor.hpp"

// Statistics of the attention of the observation window (the last w prompt queries): its spread over positions and its
// movement from query to query. SnapKV scores positions by them, and CAKE (Qin et al. 2025, arXiv:2503.12491) scores
// positions and divides budgets by them.

namespace evictlab::analysis {

/// sums[j] += the sum over the last `window` rows of one head of column first + j.
void add_window_sums(const trace::TensorView& attention, trace::Index head, trace::Index window, trace::Index first,
                     std::span<double> sums);

/// Per position: mean and unbiased variance (divisor w - 1; 0 when w = 1) of a head's weights over the rows.
struct WindowMoments {
  Eigen::RowVectorXd mean;
  Eigen::RowVectorXd variance;
};
/// Over the last `window` rows of one head, of the columns [first, first + count).
WindowMoments window_moments(const trace::TensorView& attention, trace::Index head, trace::Index window,
                             trace::Index first, trace::Index count);

/// Sums over all heads, rows and positions of a layer, in double; heads in parallel. Weights S are taken as recorded,
/// without dividing by what the chosen columns sum to.
struct AttentionSpread {
  double dispersion = 0.0;  // -sum S ln(S + 1e-10), nats: CAKE's spatial dispersion; not below 0
  double shift = 0.0;       // sum over heads and positions of the variance over rows: CAKE's temporal shift
};
AttentionSpread attention_spread(const trace::TensorView& attention, trace::Index window, trace::Index first,
                                 trace::Index count);

}  // namespace evictlab::analysis
