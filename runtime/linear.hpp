#pragma once

#include <span>
#include <vector>

#include "runtime/weights.hpp"

namespace evictlab::runtime {

using trace::RowMatrix;
using trace::RowMatrixView;

/// y = x W^T + b, as torch.nn.Linear.
struct Linear {
  WeightMatrix weight;      // [out, in]
  std::vector<float> bias;  // [out], or empty
};

/// Writes the rows of x [m, in] through `linear` to `y` [m, out], which must have that size already.
/// Up to 8 rows of x are multiplied by the weights as they are stored (core::multiply_rows); for more, weights are
/// expanded part by part and every sum runs over the columns in a fixed order. A row's result depends neither on the
/// number of threads nor on the machine.
void apply(const Linear& linear, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y);

/// y = x W: writes the rows of x [m, out] times W [out, in] to `y` [m, in], which must have that size already. Sums run
/// over the rows of W in the same order for any number of threads.
void apply_transposed(const WeightMatrix& weight, const Eigen::Ref<const RowMatrix>& x, Eigen::Ref<RowMatrix> y);

/// Root mean square normalisation (Zhang and Sennrich 2019, eq. 4), row by row:
///   y_i = x_i / sqrt(mean_j x_j^2 + eps) * weight_i
void rms_norm(const Eigen::Ref<const RowMatrix>& x, std::span<const float> weight, double eps, Eigen::Ref<RowMatrix> y);

/// gate_i = silu(gate_i) * up_i with silu(v) = v / (1 + exp(-v)) (SwiGLU, Shazeer 2020, eq. 6).
void gate_with_silu(Eigen::Ref<RowMatrix> gate, const Eigen::Ref<const RowMatrix>& up);

}  // namespace evictlab::runtime
