#pragma once

#include <span>
#include <vector>

namespace evictlab::results {

/// Ranks 1..n, largest value first; equal values share the mean of their ranks. Values must not be NaN.
std::vector<double> average_ranks(std::span<const float> values);

/// Spearman's rank correlation, -1..1: Pearson's of the average ranks; 0 where either side is constant or there are
/// fewer than two values. Throws std::invalid_argument for sizes that differ.
double spearman(std::span<const double> ranks_a, std::span<const double> ranks_b);

/// Kendall's tau-b (Kendall 1945), -1..1: with C pairs in the same order on both sides, D in the opposite, and P_a, P_b
/// pairs that are no tie on a side, (C - D) / sqrt(P_a P_b); 0 where a side is constant. Throws std::invalid_argument
/// for sizes that differ.
double kendall_tau_b(std::span<const double> a, std::span<const double> b);

/// Spearman's of values: of their average ranks.
double spearman_of_values(std::span<const double> a, std::span<const double> b);

}  // namespace evictlab::results
