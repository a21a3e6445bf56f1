#include "lab/demo.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <iostream>

#include "cli/console.hpp"
#include "cli/options.hpp"
#include "core/text.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

/// One step: says what it does, as one would type it, does it, and says how long it took.
void step(const char* what, int (*command)(const Arguments&), const char* name, const Arguments& arguments) {
  std::cerr << "\n# " << what << "\n$ evictlab " << name;
  for (const std::string& word : arguments) {
    std::cerr << ' ' << (word.find_first_of("(),* ") == std::string::npos ? word : "'" + word + "'");
  }
  std::cerr << '\n';
  const auto begin = std::chrono::steady_clock::now();
  if (const int code = command(arguments); code != 0) {
    throw std::runtime_error(fmt::format("demo: {} ended with {}", name, code));
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::cout.flush();
  std::cerr << fmt::format("# {} took {:.1f} s\n", name, took.count());
}

lab::DemoOptions demo_options(const Options& options) {
  lab::DemoOptions demo{.model = options.optional_path("model"),
                        .prompts = options.paths("prompts"),
                        .out = options.path("out"),
                        .force = options.has("force")};
  if (options.has("prompts-per-task")) {
    demo.prompts_per_task = static_cast<std::size_t>(options.integer("prompts-per-task", 1, 1000));
  }
  return demo;
}

/// The plan's prompts, as options of `record` and `validate`.
Arguments prompt_arguments(const lab::DemoPlan& plan) {
  Arguments words = {"--model", plan.model.string()};
  for (const fs::path& file : plan.prompts) words.insert(words.end(), {"--prompts", file.string()});
  if (plan.limit > 0) words.insert(words.end(), {"--limit", std::to_string(plan.limit)});
  return words;
}

void run_steps(const lab::DemoPlan& plan, const fs::path& out, bool force) {
  const auto with = [&](Arguments words, const Arguments& more) {
    words.insert(words.end(), more.begin(), more.end());
    if (force) words.emplace_back("--force");
    return words;
  };
  const std::string trace = plan.trace.string();
  const std::string replay = (out / "replay.csv").string();
  const char* const dtype = plan.dtype == trace::ElementType::kFloat16 ? "float16" : "float32";
  step("The model reads its prompts once; attention, queries, keys and values of every layer go to a trace.",
       run_record, "record", with(prompt_arguments(plan), {"--tier", "full", "--dtype", dtype, "--out", trace}));
  step("What is in it?", run_info, "info", {trace});
  step("Is it sound?", run_verify, "verify", {trace});
  step("Every policy at every budget, from the trace alone.", run_replay, "replay",
       with({trace}, {"--policy", plan.policies, "--budget", plan.budgets, "--out", replay}));
  step("How do the layers attend?", run_analyze, "analyze", with({trace}, {"--out", out.string()}));
  step("Was that true? The model goes on from caches that are really compacted.", run_validate, "validate",
       with(prompt_arguments(plan),
            {"--only", fmt::format("{}", fmt::join(plan.live_prompts, ",")), "--policy", plan.live_policies, "--budget",
             plan.live_budgets, "--teacher-forced", "--replay", replay, "--out", out.string()}));
  step("Pictures, from the tables alone.", run_plot, "plot", with({out.string()}, {"--out", out.string()}));
  step("One page to read.", run_report, "report",
       with({out.string()}, {"--model", plan.model.string(), "--out", (out / "report.html").string()}));
}

}  // namespace

int run_demo(const Arguments& arguments) {
  Options options(
      "demo", "[--model MODEL] [--out DIR] [OPTION ...]",
      "Runs the whole way on a model: record, verify, replay, analyze, validate, plot, report. The shipped\n"
      "model reads prompts of its own, any other the sixteen conversations in models/texts.");
  options.value("model", "MODEL", "", "a .gguf file or a model directory; the shipped model by default");
  options.values("prompts", "FILE.jsonl", "other prompts, as record takes them");
  options.value("out", "DIR", "demo-out", "where to leave trace.h5, tables and figures");
  options.value("prompts-per-task", "N", "", "the shipped model's prompts of each task and length; 2 by default");
  options.flag("no-keep-trace", "delete the trace at the end, by far the largest file");
  options.flag("force", "replace the results of an earlier run");
  if (!options.parse(arguments)) return 0;

  const fs::path out = options.path("out");
  Console console;
  const lab::DemoPlan plan = lab::plan_demo(demo_options(options), console);
  const bool keep = !options.has("no-keep-trace");
  std::cerr << fmt::format("# {} reads {} prompts. The recording will take {} in {}, {}; all else is small.\n",
                           plan.model.filename().string(), plan.recording.prompts,
                           core::format_bytes(plan.recording.estimate.trace_bytes), plan.trace.string(),
                           keep ? "kept (--no-keep-trace deletes it at the end)" : "deleted at the end");
  run_steps(plan, out, options.has("force"));
  if (!keep) fs::remove(plan.trace);
  std::cerr << fmt::format("\nOpen {0}/report.html. In {0}, *.png and *.svg are the figures, *.csv the tables{1}.\n",
                           out.string(), keep ? ", trace.h5 the recording" : "");
  return 0;
}

}  // namespace evictlab::cli
