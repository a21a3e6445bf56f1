#include "lab/analyze.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.hpp"
#include "lab/policy_selection.hpp"
#include "lab/result_folder.hpp"
#include "results/differences.hpp"
#include "results/task_table.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/scorer_agreement.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

fs::path analysis_path(const fs::path& directory, const std::string& name) { return directory / (name + ".csv"); }

/// Where the tables of each recording go.
std::vector<fs::path> analysis_directories(const AnalyzeOptions& options) {
  if (!options.out) return {};
  if (options.traces.size() == 1) return {*options.out};
  return {*options.out / "a", *options.out / "b"};
}

void write_analysis(const fs::path& trace_path, const trace::TraceReader& trace, const AnalysisTables& tables,
                    const AnalysisSettings& settings, const fs::path& directory, ResultFolder& folder) {
  tables.each([&](const char* name, const results::Table& table) {
    folder.write_table(analysis_path(directory, name), table);
  });
  nlohmann::ordered_json details = {{"trace", trace_path.string()},
                                    {"model", trace.model().name},
                                    {"model_fingerprint", trace.model().fingerprint},
                                    {"prompts", trace.prompts().size()}};
  details.update(settings.json());
  folder.write_manifest(analysis_path(directory, AnalysisTables::names(false).front()), details);
}

}  // namespace

nlohmann::ordered_json AnalysisSettings::json() const {
  nlohmann::ordered_json settings = {{"sinks", profile.profile.sinks}, {"recent", profile.profile.recent},
                                     {"top", profile.profile.top},     {"window", profile.window},
                                     {"tau1", profile.tau1},           {"tau2", profile.tau2}};
  if (!sensitivity.empty()) settings["sensitivity"] = sensitivity;
  return settings;
}

std::vector<std::string> AnalysisTables::names(bool with_sensitivity) {
  std::vector<std::string> names;
  AnalysisTables tables;
  if (with_sensitivity) tables.sensitivity.emplace();
  tables.each([&names](const char* name, const results::Table&) { names.emplace_back(name); });
  return names;
}

namespace {

/// Reports, once, where fewer queries were recorded than CAKE's dispersion and shift are asked of.
void report_window(const trace::Source& trace, trace::Index window, Observer& observer) {
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    if (prompt.window >= window) continue;
    observer.message(Topic::kNote, fmt::format("prompt '{}' recorded its last {} queries: CAKE's dispersion and shift "
                                               "are over these, not over the {} of --window",
                                               prompt.id, prompt.window, window));
    return;
  }
}

}  // namespace

AnalysisTables analysis_tables(const trace::Source& trace, const AnalysisSettings& settings, Observer& observer) {
  std::vector<sim::Policy> policies = sim::make_policies(settings.policies);
  const bool chosen = settings.policies != kScorerPolicies;
  std::erase_if(policies, [&](const sim::Policy& policy) {
    const std::optional<std::string> reason = why_no_scores(trace, policy);
    if (reason && chosen) observer.message(Topic::kLeftOut, *reason);
    return reason.has_value();
  });
  report_window(trace, settings.profile.window, observer);
  AnalysisTables tables;
  tables.profile = profile_tables(trace, settings.profile, progress_to(observer, {"analysing"}));
  tables.scorers =
      sim::scorer_table(trace, policies, settings.profile.profile.top, progress_to(observer, {"comparing scorers"}));
  tables.tasks = results::task_table(tables.profile.layers, tables.profile.attention);
  if (!settings.sensitivity.empty()) {
    tables.sensitivity = trace_sensitivity(trace, parse_sensitivity(settings.sensitivity), tables.profile, observer);
  }
  return tables;
}

AnalyzeOutcome analyze(const AnalyzeOptions& options, Observer& observer) {
  if (options.traces.empty() || options.traces.size() > 2) {
    throw core::InputError("analyze: {} traces given; one is described, two are compared", options.traces.size());
  }
  // A wrong name is found before any work.
  sim::make_policies(options.settings.policies);
  const bool with_sensitivity = !options.settings.sensitivity.empty();
  if (with_sensitivity) parse_sensitivity(options.settings.sensitivity);
  const std::vector<std::string> names = AnalysisTables::names(with_sensitivity);
  ResultFolder folder(options.force, options.command, Inputs().add(options.traces));
  const std::vector<fs::path> directories = analysis_directories(options);
  const fs::path differences_path = options.out.value_or(fs::path()) / "differences.csv";
  for (const fs::path& directory : directories) {
    folder.plan_manifest(analysis_path(directory, names.front()));
    for (const std::string& name : names) folder.plan(analysis_path(directory, name));
  }
  if (directories.size() == 2) {
    folder.plan_manifest(differences_path);
    folder.plan(differences_path);
  }
  for (const fs::path& path : options.traces) {  // both can be read, and serve, before any work
    const trace::TraceReader trace(path);
    if (with_sensitivity) check_sensitivity_trace(trace);
  }

  AnalyzeOutcome outcome;
  std::vector<std::string> written;
  for (const fs::path& path : options.traces) {
    const trace::TraceReader trace(path);
    const AnalysisTables& tables =
        outcome.recordings.emplace_back(path, analysis_tables(trace, options.settings, observer)).tables;
    if (!options.out) continue;
    const fs::path& directory = directories[outcome.recordings.size() - 1];
    write_analysis(path, trace, tables, options.settings, directory, folder);
    written.push_back(fmt::format("{}.csv to {}", fmt::join(names, ".csv, "), directory.string()));
  }
  if (options.traces.size() == 2) {
    outcome.differences = results::difference_table(outcome.recordings[0].tables.profile.layers,
                                                    outcome.recordings[1].tables.profile.layers);
    if (options.out) {
      folder.write_table(differences_path, *outcome.differences);
      folder.write_manifest(differences_path, {{"a", options.traces[0].string()}, {"b", options.traces[1].string()}});
      written.push_back(differences_path.string());
    }
  }
  folder.commit();
  for (const std::string& files : written) observer.message(Topic::kWritten, files);
  return outcome;
}

}  // namespace evictlab::lab
