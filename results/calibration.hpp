#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/prediction.hpp"
#include "results/rows.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

// How well replay foresees what eviction does to a running model: whether policies that a measure of replay.csv calls
// better have the lower KL divergence from the full cache in validate.csv, and how far the divergence that it foretells
// lies from the live one.

namespace evictlab::results {

struct CalibrationOptions {
  std::uint64_t seed = 1;
  std::size_t resamples = 500;           // draws of documents
  std::size_t transfer_resamples = 200;  // the same for transfer, each over eight halvings
  std::size_t splits = 200;              // halvings of the documents
  double confidence = 0.95;
};

struct Calibration {
  /// The table `calibration`, of evictions at the prompt and then, where there are any, of those that go on while
  /// decoding, each kind by itself: a row per budget and measure, and for budget_requested = "all" the mean over the
  /// budgets that have enough policies; of all prompts, then of each task's. It ranks the methods that are feasible on
  /// all prompts, at equal held slots (SlotCurves): controls, ceilings and whoever holds more would make any measure
  /// look good. What is lost counts, so that 1 is the same order whatever the measure. Intervals draw documents with
  /// replacement, the same draws for all measures. The last measure is predicted_kl, which learns from the half that
  /// it ranks (transfer) or from the other documents (tau_b).
  Table measures;
  /// The table `predictions`: these methods' means over prompts with the slots that each holds, with intervals.
  Table predictions;
  /// The table `disagreements`: pairs of policies that the chosen measure (the best, where none is chosen) puts in the
  /// wrong order; the largest difference in KL first.
  Table disagreements;
  /// The table `prediction_errors`, prediction_errors().
  Table errors;
  std::string chosen;  // the measure that foretells; empty: none could be chosen
  /// What is learned from all documents, without what only the model knows (its name, fingerprint and window); none:
  /// too few runs.
  std::optional<KlCalibration> learned;
};

/// Throws TableError when a table of replay lacks a column that calibrate() reads, or has no measure. A single measure
/// may be missing: it is then not measured.
void require_replay_columns(const Table& replay);

/// Joins the tables on prompt, policy, parameters and budget; of validate.csv the first turn, of replay.csv the rows
/// over all layers. `curves`, a validation's curves.csv, teaches how KL goes on with the distance from the prompt;
/// none: no curves are learned. Evictions at the prompt must be among the runs for anything to be learned. Throws
/// TableError when a column is missing.
Calibration calibrate(const Table& validate, const Table& replay, const Table* curves = nullptr,
                      const CalibrationOptions& options = {});

/// The rows of a table `calibration` over all budgets and prompts, a measure each: of evictions at the prompt, or of
/// the others where it has no such.
std::vector<RowView> overall_rows(const Table& calibration);

}  // namespace evictlab::results
