#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/observer.hpp"
#include "lab/policy_selection.hpp"
#include "results/table.hpp"
#include "sim/replay/replay.hpp"

namespace evictlab::lab {

struct ReplayOptions {
  std::vector<std::filesystem::path> traces = {};
  PolicyRequest policies = {};   // may be empty where `scores` or `budget_file` say what to replay, or `judged`
  std::string budgets = {};      // "128,0.05"; may be empty where no policy depends on it
  std::string constraints = {};  // "share=layer,blocks=16": also replay every policy under these
  std::optional<std::filesystem::path> scores = {};       // imported, for compose(scorer=given)
  std::optional<std::filesystem::path> budget_file = {};  // imported, for compose(allocator=given)
  std::optional<std::filesystem::path> judged = {};       // kept positions to judge instead of policies
  bool headroom = false;                                  // also what better scoring and allocation could gain

  std::optional<std::filesystem::path> out = {};   // replay.csv, beside which the other tables go; none: no files
  std::optional<std::filesystem::path> kept = {};  // where kept positions go
  bool force = false;                              // replace existing files
  std::string command = {};                        // what manifests name
};

struct ReplayOutcome {
  sim::ReplayResult tables;
  results::Table kept_overlap;
  results::Table summary;                          // of the policies as they are, without constraints
  std::optional<results::Table> constraint_costs;  // where there are constraints
  std::vector<std::filesystem::path> files;        // the tables written
};

/// Replays policies at budgets from recorded traces: what is kept, what that costs, how far from the oracle. Throws
/// core::InputError when no combination can be run, core::Interrupted.
ReplayOutcome replay(const ReplayOptions& options, Observer& observer);

}  // namespace evictlab::lab
