#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "results/measures.hpp"
#include "results/prediction.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

// From a replay table to a choice: which policy at which budget loses little enough, or least for its bytes.

namespace evictlab::results {

/// A policy at a budget over all prompts.
struct CostedRun {
  std::string policy;
  std::string parameters;
  std::string budget;
  double slots = 0.0;  // held, mean over prompts
  double bytes = 0.0;  // held by one sequence, mean over prompts
  Interval loss;       // amount_lost() by the measure, mean over prompts, bootstrap interval
  std::size_t prompts = 0;
};

/// Every run that all prompts can serve, in the order of the table. `predictor`, which must be there for predicted_kl,
/// gives its intervals. Throws TableError when the measure is empty: the
/// trace's tier does not give it.
std::vector<CostedRun> costed_runs(const Table& replay, Measure measure, const KlPredictor* predictor = nullptr,
                                   const BootstrapOptions& options = {});

/// The run of the fewest bytes of which even the interval's upper end (of one prompt, the loss) is at most `most`;
/// nothing if there is none.
/// Equal bytes: the smaller loss.
std::optional<CostedRun> cheapest(const std::vector<CostedRun>& runs, double most);
/// The run that loses least of those that hold at most `bytes`. Equal losses: fewer bytes.
std::optional<CostedRun> least_lossy(const std::vector<CostedRun>& runs, double bytes);

/// Whole numbers with these means, whose sum is the means' sum, rounded: the largest remainders are rounded up (ties:
/// the earlier).
std::vector<std::int64_t> rounded_together(const std::vector<double>& means);

}  // namespace evictlab::results
