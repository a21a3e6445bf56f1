#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/checkpoint.hpp"
#include "lab/observer.hpp"
#include "lab/policy_selection.hpp"
#include "lab/ranks.hpp"
#include "results/table.hpp"

namespace evictlab::lab {

struct SweepOptions {
  std::vector<std::filesystem::path> traces = {};  // of one model
  PolicyRequest policies = {};                     // may be empty with `matrix`
  std::string budgets = {};
  bool matrix = false;  // also every combination of a scorer, an allocator and a selector
  std::optional<std::string> tune =
      {};  // "tau1=0.4:2:log5": also these parameters, selected on one half of the prompts
  std::optional<std::filesystem::path> calibration = {};  // of validate, which foretells the KL divergence
  bool full_measures = true;  // those of the full tier too; without them their cells are empty
  bool layers = false;        // also a row per layer, and the budgets and trajectory of every run
  bool headroom = true;       // what better scoring and allocation could gain

  /// The folder for the tables, where an interrupted sweep resumes; none: everything in memory.
  std::optional<std::filesystem::path> out = {};
  bool force = false;  // replace existing files, and start over
  std::string command = {};
  Ranks* ranks = nullptr;  // that share the prompts; none: this process alone
};

/// Of the first rank; empty in the others.
struct SweepOutcome {
  results::Table replay;                   // of all policies, the tuned candidates included
  results::Table summary;                  // without the candidates
  std::optional<results::Table> headroom;  // without the candidates
  std::optional<results::Table> tuning;
  std::optional<results::Table> budgets;     // with `layers`, where there is no folder
  std::optional<results::Table> trajectory;  // the same
  PromptCheckpoint::Notes notes;
  std::vector<std::filesystem::path> files;  // written, replay.csv first
};

/// Replays every policy at every budget, prompt by prompt, resuming what an interrupted sweep finished. Throws
/// core::InputError when no combination can be run, core::Interrupted.
SweepOutcome sweep(const SweepOptions& options, Observer& observer);

}  // namespace evictlab::lab
