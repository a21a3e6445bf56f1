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
  /// A row per budget and measure, then for budget_requested = "all": the mean over the budgets that have enough
  /// policies. Policies are those feasible on all prompts; controls (random, protect-only), full and oracle are no
  /// policies to rank. A measure that grows as things get better counts from its other end, so that 1 is the same order
  /// everywhere.
  ///   budget_requested,measure,policies,prompts,
  ///   spearman,spearman_low,spearman_high,tau_b,tau_b_low,tau_b_high    over policies, of means over prompts;
  ///   intervals
  ///                                      from prompts drawn with replacement, the same draws for all measures
  ///   to_best,to_best_low,to_best_high   tau_b minus that of the budget's best measure, paired
  ///   tau_b_first_half,tau_b_second_half on halves of the prompts, which are dealt out within every task
  ///   chosen                             yes: largest tau_b on the first half over all budgets; what to report of it
  ///   is
  ///                                      the second half's
  ///   ceiling                            tau_b of the live ranking of one half with that of the other, mean over 100
  ///                                      ways to halve: no prediction can be expected to do better
  ///   status                             ok, or why cells are empty
  Table measures;
  /// What the rows above are of: means over the prompts, with intervals.
  ///   budget_requested,policy,parameters,measure,predicted,predicted_low,predicted_high,kl,kl_low,kl_high
  Table predictions;
  /// Pairs of policies that the chosen measure (the best, where none is chosen) puts in the wrong order: by how much in
  /// its own units and in KL, paired over prompts; the largest difference first.
  ///   budget_requested,measure,predicted_better,better,measure_difference,kl_difference,kl_low,kl_high
  Table disagreements;
  std::string chosen;  // the measure; empty: none could be chosen
};

/// Throws TableError when a table of replay lacks a column that calibrate() reads.
void require_replay_columns(const Table& replay);

/// Joins the tables on prompt, policy, parameters and budget; of validate.csv the first turn, of replay.csv the rows
/// over all layers. Throws TableError when a column is missing.
Calibration calibrate(const Table& validate, const Table& replay,
                      const BootstrapOptions& options = {.seed = 1, .resamples = 1000});

}  // namespace evictlab::results
