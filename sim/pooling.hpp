#pragma once

#include <Eigen/Core>

#include <vector>

#include "sim/parts.hpp"

namespace evictlab::sim {

/// What each position gets of its neighbours: stride 1, kernel/2 positions to either side. The average counts its zero
/// padding (the divisor is always the kernel), as torch's avg_pool1d does, so both ends are damped; the maximum ignores
/// it. Equal neighbourhoods give equal values. `kernel` is odd.
Eigen::RowVectorXd pooled(const Eigen::RowVectorXd& values, Index kernel, Pooling pooling);

/// One row per query head of a set → one: their mean, maximum or sum. At least one row.
Eigen::RowVectorXd reduced(const std::vector<Eigen::RowVectorXd>& heads, Reduction reduction);

}  // namespace evictlab::sim
