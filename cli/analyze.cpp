#include <fmt/format.h>

#include <iostream>

#include "analysis/attention.hpp"
#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "trace/io/reader.hpp"

namespace evictlab::cli {

int run_analyze(const Arguments& arguments) {
  Options options("analyze", "TRACE --out DIR [OPTION ...]",
                  "Describes how every layer and head of every recorded prompt attends: entropy, effective positions,\n"
                  "attention on the first and the most recent positions. Writes DIR/attention.csv.");
  options.positional("trace", "the trace: a file or a directory of parts", Options::Count::kOne);
  options.value("out", "DIR", "", "where to write attention.csv");
  options.value("sinks", "N", "4", "positions at the start that count as attention sinks");
  options.value("recent", "N", "32", "positions before a query that count as recent");
  declare_threads(options);
  options.flag("force", "replace an existing table");
  if (!options.parse(arguments)) return 0;

  use_threads(options);
  const analysis::ProfileOptions profile{.sinks = options.integer("sinks", 0, 1'000'000),
                                         .recent = options.integer("recent", 0, 1'000'000)};
  const Outputs outputs(options.has("force"));
  const auto table_path = outputs.plan(options.path("out") / "attention.csv");
  const trace::TraceReader trace(options.path("trace"));
  outputs.write_table(table_path, analysis::attention_table(trace, profile));
  outputs.write_manifest(table_path, {{"trace", options.text("trace")},
                                      {"model", trace.model().name},
                                      {"model_fingerprint", trace.model().fingerprint},
                                      {"prompts", trace.prompts().size()},
                                      {"sinks", profile.sinks},
                                      {"recent", profile.recent}});
  std::cerr << fmt::format("wrote {}\n", table_path.string());
  return 0;
}

}  // namespace evictlab::cli
