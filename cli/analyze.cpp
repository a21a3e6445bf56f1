#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "analysis/profile_tables.hpp"
#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "cli/policy_options.hpp"
#include "sim/scorer_agreement.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::cli {

namespace fs = std::filesystem;

namespace {

/// Of the policies asked for, those that the recording can serve.
analysis::Table agreement_table(const Options& options, const trace::Source& trace, double top) {
  std::vector<sim::Policy> policies = sim::make_policies(options.text("policy"));
  std::erase_if(policies, [&trace](const sim::Policy& policy) {
    return std::ranges::any_of(trace.prompts(), [&policy](const trace::PromptInfo& prompt) {
      return prompt.window < policy.needs().window_rows || !prompt.recorded().contains(policy.needs().fields);
    });
  });
  return sim::scorer_table(trace, policies, top, layer_progress("comparing scorers"));
}

}  // namespace

int run_analyze(const Arguments& arguments) {
  Options options(
      "analyze", "TRACE --out DIR [OPTION ...]",
      "Describes how layers and heads of the recorded prompts attend: entropy, sinks, heavy hitters, CAKE's\n"
      "dispersion and shift, concentration, overlaps, how well the window foresees the future. Writes attention.csv,\n"
      "layers.csv, concentration.csv, overlap.csv, future.csv, scorers.csv and, per task with intervals, tasks.csv;\n"
      "docs/analyses.md explains every column.");
  options.positional("trace", "the trace: a file or a directory of parts", Options::Count::kOne);
  options.value("out", "DIR", "", "where to write the tables");
  options.value("sinks", "N", "4", "positions at the start that count as attention sinks");
  options.value("recent", "N", "32", "positions before a query that count as recent");
  options.value("top", "SHARE", "0.05", "share of the positions that is a head's top set");
  options.value("window", "N", "32", "queries that CAKE's dispersion and shift are taken over");
  options.value("tau1", "T", "1", "CAKE's temperature of dispersion");
  options.value("tau2", "T", "1", "CAKE's temperature of shift");
  options.value("policy", "LIST", "random,h2o,tova,snapkv,cake,expected-attention,knorm,keydiff,lagkv",
                "policies whose scorers are compared with the future (those that the recording can serve)");
  declare_threads(options);
  options.flag("force", "replace existing tables");
  if (!options.parse(arguments)) return 0;

  use_threads(options);
  const analysis::LayerOptions profile{.profile = {.sinks = options.integer("sinks", 0, 1'000'000),
                                                   .recent = options.integer("recent", 0, 1'000'000),
                                                   .top = options.number("top", 1e-6, 1.0)},
                                       .window = options.integer("window", 1, 1'000'000),
                                       .tau1 = options.number("tau1", 0.01, 100.0),
                                       .tau2 = options.number("tau2", 0.01, 100.0)};
  const fs::path directory = options.path("out");
  const Outputs outputs(options.has("force"));
  const fs::path first = directory / "attention.csv";
  outputs.plan(first);
  for (const char* name : {"layers", "concentration", "overlap", "future", "scorers", "tasks"}) {
    outputs.plan(directory / (std::string(name) + ".csv"));
  }
  const trace::TraceReader trace(options.path("trace"));
  const analysis::ProfileTables tables = analysis::profile_tables(trace, profile, layer_progress("analysing"));
  const analysis::Table tasks = analysis::task_table(tables.layers, tables.attention);
  const analysis::Table scorers = agreement_table(options, trace, profile.profile.top);
  const std::pair<const char*, const analysis::Table*> written[] = {{"attention", &tables.attention},
                                                                    {"layers", &tables.layers},
                                                                    {"concentration", &tables.concentration},
                                                                    {"overlap", &tables.overlap},
                                                                    {"future", &tables.future},
                                                                    {"scorers", &scorers},
                                                                    {"tasks", &tasks}};
  for (const auto& [name, table] : written) outputs.write_table(directory / (std::string(name) + ".csv"), *table);
  outputs.write_manifest(first, {{"trace", options.text("trace")},
                                 {"model", trace.model().name},
                                 {"model_fingerprint", trace.model().fingerprint},
                                 {"prompts", trace.prompts().size()},
                                 {"sinks", profile.profile.sinks},
                                 {"recent", profile.profile.recent},
                                 {"top", profile.profile.top},
                                 {"window", profile.window},
                                 {"tau1", profile.tau1},
                                 {"tau2", profile.tau2}});
  std::cerr << fmt::format("wrote attention, layers, concentration, overlap, future, scorers and tasks.csv to {}\n",
                           directory.string());
  return 0;
}

}  // namespace evictlab::cli
