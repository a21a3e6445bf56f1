#pragma once

#include <optional>

#include "results/prediction.hpp"
#include "results/table.hpp"

namespace evictlab::results {

struct ErrorOptions {
  int splits = 100;          // halvings of the documents
  LearnOptions learn = {};   // of everything that one half teaches
  double confidence = 0.95;  // of intervals over halvings
};

/// How far foretold divergences lie from live ones.
struct PredictionErrors {
  /// The table `prediction_errors`: a row for runs on one prompt and for means over documents, of methods and controls,
  /// of ceilings, and of policies of which the map saw no run.
  Table table = {};
  std::optional<double> median_factor = {};       // of means over documents, methods and controls
  std::optional<double> nine_of_ten_factor = {};  // the 90th percentile
  std::optional<double> coverage = {};
};

/// Learns on one half of the documents (measure, map and intervals) and foretells the other, for every random halving.
/// Fewer than four documents give no rows. `evicting`: of which kind the runs are,
/// for the table.
PredictionErrors prediction_errors(const LiveRuns& runs, Evicts evicting = Evicts::kAtPrompt,
                                   const ErrorOptions& options = {});

}  // namespace evictlab::results
