#pragma once

#include <Eigen/Core>

#include <functional>

#include "sim/policy/parameters.hpp"

namespace evictlab::sim {

enum class Pooling { kMax, kAverage };
/// "kernel" and "pooling", as scorers declare them.
ParameterList pooling_parameters();
Pooling pooling_from(const Parameters& parameters);

enum class Reduction { kMean, kMax, kSum };
/// "reduction": mean (default), max or sum over the query heads of a kv head.
Parameter reduction_parameter();
Reduction reduction_from(const Parameters& parameters);

/// What each position gets of its neighbours: stride 1, kernel/2 positions to either side. The average counts its zero
/// padding (the divisor is always the kernel), as torch's avg_pool1d does, so both ends are damped; the maximum ignores
/// it. Equal neighbourhoods give equal values. `kernel` is odd.
Eigen::RowVectorXd pooled(const Eigen::RowVectorXd& values, Index kernel, Pooling pooling);

/// The mean, maximum or sum of vote(0) ... vote(heads - 1), one row per query head of a set; at least one. They are
/// made in parallel and reduced in order.
Eigen::RowVectorXd reduced(Index heads, Reduction reduction, const std::function<Eigen::RowVectorXd(Index)>& vote);

}  // namespace evictlab::sim
