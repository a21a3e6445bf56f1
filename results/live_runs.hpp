#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "results/calibration_data.hpp"
#include "results/evicts.hpp"
#include "results/run_table.hpp"

namespace evictlab::results {

/// A policy at a budget on a prompt: what replay measures of it, and the KL divergence that it causes live.
struct LiveRun {
  std::size_t policy = 0;    // of LiveRuns::policies
  std::size_t cell = 0;      // the policy at the budget, of LiveRuns::cells
  std::size_t document = 0;  // of LiveRuns::documents
  Role role = Role::kMethod;
  double prompt_length = 0.0;
  double future_length = 0.0;                             // answer tokens read; 0 where replay.csv does not say
  double slots = 0.0;                                     // held
  double kl = 0.0;                                        // nats
  std::array<std::optional<double>, kMeasureCount> lost;  // amount_lost() by measure; none: not measured
};

/// The runs of validate.csv and replay.csv that evict, in the order of validate.csv.
struct LiveRuns {
  struct PolicyAtBudget {
    std::size_t policy = 0;
    std::string budget;
  };
  std::vector<LiveRun> runs;
  std::vector<PolicyKey> policies;
  std::vector<PolicyAtBudget> cells;
  std::vector<std::string> documents;
  std::vector<std::string> tasks;
  std::size_t prompts = 0;
  /// The methods at equal held slots, and the document of each of the prompts that they are ranked on.
  CalibrationData ranked;
  std::vector<std::size_t> ranked_documents;  // of `documents`, by prompt of `ranked`
};

/// Joins first turns of validate.csv and rows over all layers of replay.csv on prompt, policy and budget, of policies
/// that evict at these times. Left out are the full cache, what could not run, and what evicts nothing. Throws
/// TableError when a column is missing.
LiveRuns live_runs(const Table& validate, const Table& replay, Evicts evicting = Evicts::kAtPrompt);

/// Stretches of the answers of the runs in `curves.csv` of a validation (results/curve_steps.hpp): a cell of `runs` is
/// a stretch; nothing is ranked.
struct LiveStretches {
  LiveRuns runs;
  std::vector<std::int64_t> last_steps;  // by cell, rising
};
LiveStretches live_stretches(const Table& curves, Evicts evicting);

}  // namespace evictlab::results
