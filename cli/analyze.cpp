#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>

#include "cli/analysis_summary.hpp"
#include "cli/analysis_tables.hpp"
#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "core/error.hpp"
#include "results/differences.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kDifferences = "differences.csv";

/// A recording and where its tables go.
struct Recording {
  std::string path;
  fs::path directory;
  AnalysisTables tables = {};
};

/// The tables of one recording lie in the directory itself, those of two in "a" and "b".
std::vector<Recording> recordings(const Options& options) {
  const std::vector<std::string> paths = options.list("trace");
  const fs::path out = options.path("out");
  if (paths.size() == 1) return {{paths[0], out}};
  if (paths.size() == 2) return {{paths[0], out / "a"}, {paths[1], out / "b"}};
  throw core::InputError("analyze: {} traces given; one is described, two are compared", paths.size());
}

fs::path table_path(const Recording& recording, const std::string& name) {
  return recording.directory / (name + ".csv");
}

void measure(Recording& recording, const AnalysisSettings& settings, const Outputs& outputs) {
  const trace::TraceReader trace(recording.path);
  recording.tables = analysis_tables(trace, settings);
  recording.tables.each(
      [&](const char* name, const results::Table& table) { outputs.write_table(table_path(recording, name), table); });
  Json details = {{"trace", recording.path},
                  {"model", trace.model().name},
                  {"model_fingerprint", trace.model().fingerprint},
                  {"prompts", trace.prompts().size()}};
  details.update(settings.json());
  outputs.write_manifest(table_path(recording, AnalysisTables::names().front()), details);
  std::cerr << fmt::format("wrote {}.csv to {}\n", fmt::join(AnalysisTables::names(), ".csv, "),
                           recording.directory.string());
}

void print(const std::vector<Recording>& recordings, const results::Table* differences, bool json) {
  if (json) {
    Json all = {{"recordings", Json::array()}};
    for (const Recording& recording : recordings) {
      all["recordings"].push_back({{"trace", recording.path}, {"tasks", table_json(recording.tables.tasks)}});
    }
    if (differences != nullptr) all["differences"] = table_json(*differences);
    std::cout << all.dump(1, ' ', false, Json::error_handler_t::replace) << '\n';
    return;
  }
  for (const Recording& recording : recordings) {
    if (recordings.size() > 1) {
      std::cout << fmt::format("{}{}: {}\n", &recording == &recordings.front() ? "" : "\n",
                               &recording == &recordings.front() ? "A" : "B", recording.path);
    }
    std::cout << analysis_summary(recording.tables.tasks);
  }
  if (differences != nullptr) std::cout << difference_summary(*differences);
}

}  // namespace

int run_analyze(const Arguments& arguments) {
  Options options(
      "analyze", "TRACE [TRACE] --out DIR [OPTION ...]",
      "Describes how layers and heads of the recorded prompts attend: entropy, sinks, heavy hitters, CAKE's\n"
      "dispersion and shift, concentration, overlaps, how well the window foresees the future. Prints a table of the\n"
      "layers and writes attention.csv, layers.csv, concentration.csv, overlap.csv, future.csv, maps.csv, scorers.csv "
      "and, per\n"
      "task with intervals, tasks.csv; docs/analyses.md explains every column. Of two recordings (two models, tasks "
      "or\n"
      "sets of prompts) the tables go to DIR/a and DIR/b, what differs between them to DIR/differences.csv.");
  options.positional("trace", "the trace, or two to compare: files or directories of parts", Options::Count::kMany);
  options.value("out", "DIR", "", "where to write the tables");
  declare_analysis(options);
  declare_threads(options);
  options.flag("json", "print as JSON what the tables tell per task and layer");
  options.flag("force", "replace existing tables");
  if (!options.parse(arguments)) return 0;

  use_threads(options);
  const AnalysisSettings settings = analysis_settings(options);
  std::vector<Recording> all = recordings(options);
  const Outputs outputs(options.has("force"));
  for (const Recording& recording : all) {
    for (const std::string& name : AnalysisTables::names()) outputs.plan(table_path(recording, name));
  }
  const fs::path differences_path = options.path("out") / kDifferences;
  if (all.size() == 2) outputs.plan(differences_path);
  for (const Recording& recording : all) trace::TraceReader{recording.path};  // both can be read, before any work

  for (Recording& recording : all) measure(recording, settings, outputs);
  if (all.size() == 1) {
    print(all, nullptr, options.has("json"));
    return 0;
  }
  const results::Table differences =
      results::difference_table(all[0].tables.profile.layers, all[1].tables.profile.layers);
  outputs.write_table(differences_path, differences);
  outputs.write_manifest(differences_path, {{"a", all[0].path}, {"b", all[1].path}});
  std::cerr << fmt::format("wrote {}\n", differences_path.string());
  print(all, &differences, options.has("json"));
  return 0;
}

}  // namespace evictlab::cli
