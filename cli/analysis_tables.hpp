#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "cli/options.hpp"
#include "lab/profile_tables.hpp"
#include "results/table.hpp"
#include "results/task_table.hpp"
#include "sim/policy/policy.hpp"
#include "trace/model.hpp"

namespace evictlab::cli {

/// What `analyze` measures with.
struct AnalysisSettings {
  analysis::LayerOptions profile;
  std::vector<sim::Policy> policies;  // whose scorers are compared with the future

  /// What the options are where they are not given.
  static AnalysisSettings defaults();

  nlohmann::ordered_json json() const;
};

/// --sinks, --recent, --top, --window, --tau1, --tau2, --policy.
void declare_analysis(Options& options);
AnalysisSettings analysis_settings(const Options& options);

/// Everything `analyze` tells about one recording; docs/analyses.md says what the columns are.
struct AnalysisTables {
  lab::ProfileTables profile;
  results::Table scorers;
  results::Table tasks;

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
  }
  static std::vector<std::string> names();
};

/// Policies that the recording cannot serve are left out of `scorers`. Throws core::Interrupted.
AnalysisTables analysis_tables(const trace::Source& trace, const AnalysisSettings& settings);

}  // namespace evictlab::cli
