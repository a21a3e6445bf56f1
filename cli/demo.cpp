#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <set>

#include "cli/options.hpp"
#include "core/error.hpp"
#include "lab/policy_sets.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

/// The shipped model: beside the program in a build tree, or where `cmake --install` put it.
fs::path find_model() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path beside = program.parent_path();
  for (const fs::path& candidate : {beside / "../../models/demo", beside / "../share/evictlab/models/demo"}) {
    if (fs::exists(candidate / "config.json", error)) return fs::weakly_canonical(candidate, error);
  }
  throw core::InputError("demo: the shipped model was not found beside {}; say where it is with --model",
                         beside.string());
}

/// One step: says what it does, as one would type it, and does it.
void step(const char* what, int (*command)(const Arguments&), const char* name, const Arguments& arguments) {
  std::cerr << "\n# " << what << "\n$ evictlab " << name;
  for (const std::string& word : arguments) {
    std::cerr << ' ' << (word.find_first_of("(),* ") == std::string::npos ? word : "'" + word + "'");
  }
  std::cerr << '\n';
  if (const int code = command(arguments); code != 0) {
    throw std::runtime_error(fmt::format("demo: {} ended with {}", name, code));
  }
}

}  // namespace

int run_demo(const Arguments& arguments) {
  Options options(
      "demo", "[--out DIR] [OPTION ...]",
      "Runs the whole way on the shipped model and its prompts: record, verify, replay, analyze, plot, report.");
  options.value("model", "DIR", "", "the model directory; the shipped one by default");
  options.value("out", "DIR", "demo-out", "where to leave trace.h5, tables and figures");
  options.value("prompts-per-task", "N", "2", "prompts of each task and length");
  options.flag("force", "replace the results of an earlier run");
  if (!options.parse(arguments)) return 0;

  const fs::path model = options.has("model") ? options.path("model") : find_model();
  for (const fs::path& needed : {model, model / "prompts"}) {
    if (fs::is_directory(needed)) continue;
    throw core::InputError(
        "demo: {} is missing: the demo reads the prompts that come with the shipped model; for other models see "
        "evictlab record --help",
        needed.string());
  }
  const fs::path out = options.path("out");
  const std::string limit = std::to_string(options.integer("prompts-per-task", 1, 1000));
  const auto with_force = [&](Arguments words) {
    if (options.has("force")) words.emplace_back("--force");
    return words;
  };
  const std::string trace = (out / "trace.h5").string();
  if (fs::exists(trace) && !options.has("force")) {
    throw core::InputError("{}: exists already; replace it (--force) or choose another place (--out)", trace);
  }
  Arguments record = {"--model", model.string(), "--out",   trace,     "--tier",
                      "full",    "--dtype",      "float32", "--limit", limit};
  std::set<fs::path> files;
  for (const char* length : {"512", "1024"}) {
    for (const char* task : {"needle", "multi-needle", "kv", "map", "rule", "count", "frequent", "copy", "text"}) {
      files.insert(model / "prompts" / fmt::format("{}-{}.jsonl", task, length));
    }
  }
  for (const fs::path& file : files) record.insert(record.end(), {"--prompts", file.string()});

  step("The model reads its prompts once; attention, queries, keys and values of every layer go to a trace.",
       run_record, "record", with_force(record));
  step("What is in it?", run_info, "info", {trace});
  step("Is it sound?", run_verify, "verify", {trace});
  step("Every policy at every budget, from the trace alone.", run_replay, "replay",
       with_force({trace, "--policy", lab::kDemoPolicies, "--budget", "40,48,64,96,128,192,256,384", "--out",
                   (out / "replay.csv").string()}));
  step("How do the layers attend?", run_analyze, "analyze", with_force({trace, "--out", out.string()}));
  step("Pictures, from the tables alone.", run_plot, "plot", with_force({out.string(), "--out", out.string()}));
  step("One page to read.", run_report, "report",
       with_force({out.string(), "--model", model.string(), "--out", (out / "report.html").string()}));
  std::cerr << fmt::format(
      "\nOpen {0}/report.html. In {0}, *.png and *.svg are the figures, *.csv the tables, trace.h5 the recording.\n",
      out.string());
  return 0;
}

}  // namespace evictlab::cli
