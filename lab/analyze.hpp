#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lab/observer.hpp"
#include "lab/policy_sets.hpp"
#include "lab/profile_tables.hpp"
#include "lab/sensitivity.hpp"
#include "results/table.hpp"
#include "trace/model.hpp"

namespace evictlab::lab {

/// How `analyze` measures.
struct AnalysisSettings {
  analysis::LayerOptions profile = {};
  std::string policies = kScorerPolicies;  // whose scorers are compared with the attention of the future
  std::string sensitivity = {};            // "snapkv@64": also evict in one layer or kv head at a time; empty: do not

  nlohmann::ordered_json json() const;
};

/// The tables of one recording; docs/results.md lists the columns.
struct AnalysisTables {
  ProfileTables profile;
  results::Table scorers;
  results::Table tasks;
  std::optional<SensitivityTables> sensitivity = {};

  /// body(name, table) for each: "layers" stands for layers.csv.
  template <typename Body>
  void each(const Body& body) const {
    body("attention", profile.attention);
    body("layers", profile.layers);
    body("concentration", profile.concentration);
    body("overlap", profile.overlap);
    body("future", profile.future);
    body("maps", profile.maps);
    body("scorers", scorers);
    body("tasks", tasks);
    if (sensitivity) sensitivity->each(body);
  }
  static std::vector<std::string> names(bool with_sensitivity);
};

/// Policies that the recording cannot serve are left out of `scorers`. Throws core::Interrupted.
AnalysisTables analysis_tables(const trace::Source& trace, const AnalysisSettings& settings, Observer& observer);

struct AnalyzeOptions {
  std::vector<std::filesystem::path> traces = {};  // one to describe, or two to compare
  AnalysisSettings settings = {};

  /// The folder for the tables of one recording; those of two go to its folders "a" and "b", their differences into it.
  std::optional<std::filesystem::path> out = {};
  bool force = false;
  std::string command = {};
};

struct AnalyzeOutcome {
  struct Recording {
    std::filesystem::path trace;
    AnalysisTables tables;
  };
  std::vector<Recording> recordings;
  std::optional<results::Table> differences;  // of two
};

/// Describes how layers and heads of recorded prompts attend, and how two recordings differ. Throws core::InputError,
/// core::Interrupted.
AnalyzeOutcome analyze(const AnalyzeOptions& options, Observer& observer);

}  // namespace evictlab::lab
