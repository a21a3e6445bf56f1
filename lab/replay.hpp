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
  std::optional<std::filesystem::path> calibration = {};  // of validate, which foretells the KL divergence
  bool full_measures = true;  // those of the full tier too; without them their cells are empty
  bool headroom = false;      // also what better scoring and allocation could gain

  std::optional<std::filesystem::path> out = {};   // replay.csv, beside which the other tables go; none: no files
  std::optional<std::filesystem::path> kept = {};  // where kept positions go
  bool force = false;                              // replace existing files
  std::string command = {};                        // what manifests name
};

/// A table of a replay: "budgets" stands for budgets.csv.
struct ReplayTable {
  const char* name;
  results::Table sim::ReplayResult::*table;
};

/// In the order in which they are written; headroom only where it is asked for.
inline constexpr ReplayTable kReplayTables[] = {
    {"replay", &sim::ReplayResult::replay},         {"budgets", &sim::ReplayResult::budgets},
    {"positions", &sim::ReplayResult::positions},   {"spans", &sim::ReplayResult::spans},
    {"trajectory", &sim::ReplayResult::trajectory}, {"headroom", &sim::ReplayResult::headroom},
    {"curves", &sim::ReplayResult::curves},
};

struct ReplayOutcome {
  sim::ReplayResult tables;
  bool has_headroom = false;  // of `tables`
  results::Table kept_overlap;
  results::Table summary;                          // of the policies as they are, without constraints
  std::optional<results::Table> constraint_costs;  // where there are constraints
  std::vector<std::filesystem::path> files;        // the tables written: those that have rows

  /// body(name, table) for each table that is written where it has rows, "replay" first.
  template <typename Body>
  void each(const Body& body) const {
    for (const ReplayTable& entry : kReplayTables) {
      const bool is_headroom = entry.table == &sim::ReplayResult::headroom;
      if (!is_headroom || has_headroom) body(entry.name, tables.*entry.table);
    }
    body("kept_overlap", kept_overlap);
    if (constraint_costs) body("constraints", *constraint_costs);
  }
};

/// Replays policies at budgets from recorded traces: what is kept, what that costs, how far from the oracle. Throws
/// core::InputError when no combination can be run, core::Interrupted.
ReplayOutcome replay(const ReplayOptions& options, Observer& observer);

}  // namespace evictlab::lab
