#pragma once

#include <span>
#include <vector>

#include "sim/policy/types.hpp"

// LAVa's division of a budget over layers (Shen et al. 2025, arXiv:2509.09754; MGDDestiny/Lava@71d3cc8).

namespace evictlab::sim {

/// e = -sum x ln(x + 1e-16) / ln(all) over the scores of all candidates of a layer's kept sets, x their shares of
/// (the sum + 1e-16); in 0..1, and 0 where there are fewer than two.
double score_entropy(const trace::RowMatrix& scores, const PositionRanges& ranges);

/// B_j = int( e_j / (sum of e) * total ) of every layer so far. All 0 without any entropy, where the code divides by 0.
std::vector<Index> entropy_budgets(std::span<const double> entropies, Index total);

}  // namespace evictlab::sim
