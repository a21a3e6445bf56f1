#pragma once

#include <optional>
#include <span>
#include <vector>

#include "analysis/top_sets.hpp"
#include "trace/model.hpp"

namespace evictlab::analysis {

/// Measures how the future's queries attend to the prompt, query by query.
struct FutureSteps {
  std::vector<double> hit_rate;  // [T]: mean over heads of the share of the query's top set in the window's
  std::vector<double> drift;  // [T]: mean over heads of 1 - Jaccard index of its top set with that of the first query
  /// [H]: share of the queries whose most attended prompt position lies in `needle`: after the retrieval score of Wu
  /// et al. 2024 (arXiv:2404.15574). Empty without a needle.
  std::vector<double> retrieval_score;
};

/// `layer` holds the full tier's queries and keys; `window` is rank_window() of every head; sets are of `count`
/// positions.
FutureSteps future_steps(const trace::LayerData& layer, std::span<const RankedMass> window, trace::Index count,
                         const std::optional<trace::Span>& needle);

}  // namespace evictlab::analysis
