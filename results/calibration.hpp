#pragma once

#include <string>

#include "results/statistics.hpp"
#include "results/table.hpp"

// How well replay foresees what eviction does to a running model: whether policies that a measure of replay.csv calls
// better have the lower KL divergence from the full cache in validate.csv.

namespace evictlab::results {

/// Fewer policies are in order or not; fewer prompts have no halves to speak of.
inline constexpr std::size_t kFewestPolicies = 3;
inline constexpr std::size_t kFewestPrompts = 4;

struct Calibration {
  /// The table `calibration`: a row per budget and measure, then for budget_requested = "all" the mean over the budgets
  /// that have enough policies. It ranks the methods that are feasible on all prompts, at equal held slots
  /// (SlotCurves): controls, ceilings and whoever holds more would make any measure look good. A measure that grows as
  /// things get better counts from its other end, so that 1 is the same order everywhere. Intervals draw prompts with
  /// replacement, the same draws for all measures.
  Table measures;
  /// The table `predictions`: these methods' means over prompts with the slots that each holds, with intervals.
  Table predictions;
  /// The table `disagreements`: pairs of policies that the chosen measure (the best, where none is chosen) puts in the
  /// wrong order; the largest difference in KL first.
  Table disagreements;
  std::string chosen;  // the measure; empty: none could be chosen
};

/// Throws TableError when a table of replay lacks a column that calibrate() reads, or has no measure. A single measure
/// may be missing: it is then not measured.
void require_replay_columns(const Table& replay);

/// Joins the tables on prompt, policy, parameters and budget; of validate.csv the first turn, of replay.csv the rows
/// over all layers. Throws TableError when a column is missing.
Calibration calibrate(const Table& validate, const Table& replay,
                      const BootstrapOptions& options = {.seed = 1, .resamples = 1000});

}  // namespace evictlab::results
