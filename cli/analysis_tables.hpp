#pragma once

#include <nlohmann/json.hpp>

#include <vector>

#include "analysis/profile_tables.hpp"
#include "analysis/table.hpp"
#include "cli/options.hpp"
#include "sim/policy.hpp"
#include "trace/model.hpp"

namespace evictlab::cli {

/// What `analyze` measures with.
struct AnalysisSettings {
  analysis::LayerOptions profile;
  std::vector<sim::Policy> policies;  // whose scorers are compared with the future

  nlohmann::ordered_json json() const;
};

/// --sinks, --recent, --top, --window, --tau1, --tau2, --policy.
void declare_analysis(Options& options);
AnalysisSettings analysis_settings(const Options& options);

/// Everything `analyze` tells about one recording; docs/analyses.md says what the columns are.
struct AnalysisTables {
  analysis::ProfileTables profile;
  analysis::Table scorers;
  analysis::Table tasks;

  static const std::vector<const char*>& names();
  /// body(name, table) for each of names().
  template <typename Body>
  void each(const Body& body) const {
    const analysis::Table* tables[] = {
        &profile.attention, &profile.layers, &profile.concentration, &profile.overlap, &profile.future,
        &scorers,           &tasks};
    for (std::size_t i = 0; i < names().size(); ++i) body(names()[i], *tables[i]);
  }
};

/// Policies that the recording cannot serve are left out of `scorers`. Throws core::Interrupted.
AnalysisTables analysis_tables(const trace::Source& trace, const AnalysisSettings& settings);

}  // namespace evictlab::cli
