#pragma once

#include <span>
#include <vector>

namespace evictlab::analysis {

/// Ranks 1..n, largest value first; equal values share the mean of their ranks. Values must not be NaN.
std::vector<double> average_ranks(std::span<const float> values);

/// Spearman's rank correlation, -1..1: Pearson's of the average ranks; 0 where either side is constant or there are
/// fewer than two values. Throws std::invalid_argument for sizes that differ.
double spearman(std::span<const double> ranks_a, std::span<const double> ranks_b);

}  // namespace evictlab::analysis
