#include "lab/analyze.hpp"

#include <fmt/format.h>

#include <iostream>

#include "cli/analysis_summary.hpp"
#include "cli/common_options.hpp"
#include "cli/console.hpp"
#include "cli/sensitivity_summary.hpp"
#include "lab/result_folder.hpp"

namespace evictlab::cli {
namespace {

void declare_analysis(Options& options) {
  const lab::AnalysisSettings defaults;
  const auto number = [](auto value) { return fmt::format("{}", value); };
  options.value("sinks", "N", number(defaults.profile.profile.sinks),
                "positions at the start that count as attention sinks");
  options.value("recent", "N", number(defaults.profile.profile.recent),
                "positions before a query that count as recent");
  options.value("top", "SHARE", number(defaults.profile.profile.top),
                "share of the positions that is a head's top set");
  options.value("window", "N", number(defaults.profile.window),
                "queries that CAKE's dispersion and shift are taken over");
  options.value("tau1", "T", number(defaults.profile.tau1), "CAKE's temperature of dispersion");
  options.value("tau2", "T", number(defaults.profile.tau2), "CAKE's temperature of shift");
  options.value("policy", "LIST", defaults.policies,
                "policies whose scorers are compared with the future (those that the recording can serve)");
  options.value(
      "sensitivity", "LIST@COUNTS", "",
      "also evict in one layer, and in one kv head, at a time, to these counts, everything else full, such as "
      "snapkv@64: writes sensitivity.csv, sensitivity_summary.csv, sensitivity_agreement.csv (full tier)");
}

lab::AnalyzeOptions analyze_options(const Options& options) {
  const lab::AnalysisSettings settings{{.profile = {.sinks = options.integer("sinks", 0, 1'000'000),
                                                    .recent = options.integer("recent", 0, 1'000'000),
                                                    .top = options.number("top", 1e-6, 1.0)},
                                        .window = options.integer("window", 1, 1'000'000),
                                        .tau1 = options.number("tau1", 0.01, 100.0),
                                        .tau2 = options.number("tau2", 0.01, 100.0)},
                                       options.text("policy"),
                                       options.text_or_empty("sensitivity")};
  return {.traces = options.paths("trace"),
          .settings = settings,
          .out = options.path("out"),
          .force = options.has("force"),
          .command = command_line()};
}

nlohmann::ordered_json outcome_json(const lab::AnalyzeOutcome& outcome) {
  nlohmann::ordered_json all = {{"recordings", nlohmann::ordered_json::array()}};
  for (const auto& recording : outcome.recordings) {
    all["recordings"].push_back({{"trace", recording.trace.string()}, {"tasks", table_json(recording.tables.tasks)}});
  }
  if (outcome.differences) all["differences"] = table_json(*outcome.differences);
  return all;
}

void print(const lab::AnalyzeOutcome& outcome) {
  for (const auto& recording : outcome.recordings) {
    const bool first = &recording == &outcome.recordings.front();
    if (outcome.recordings.size() > 1) {
      std::cout << fmt::format("{}{}: {}\n", first ? "" : "\n", first ? "A" : "B", recording.trace.string());
    }
    std::cout << analysis_summary(recording.tables.tasks);
    if (recording.tables.sensitivity) std::cout << sensitivity_summary(*recording.tables.sensitivity);
  }
  if (outcome.differences) std::cout << difference_summary(*outcome.differences);
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
  Console console;
  const lab::AnalyzeOutcome outcome = lab::analyze(analyze_options(options), console);
  if (options.has("json")) {
    std::cout << lab::json_text(outcome_json(outcome), 1);
  } else {
    print(outcome);
  }
  return 0;
}

}  // namespace evictlab::cli
