#include "lab/sweep.hpp"

#include <iostream>

#include "cli/on_ranks.hpp"
#include "cli/policy_options.hpp"
#include "cli/sweep_summary.hpp"
#include "results/leading.hpp"

namespace evictlab::cli {
namespace {

void declare_sweep(Options& options) {
  options.positional("trace", "the traces, of one model: files or directories of parts", Options::Count::kMany);
  declare_policies(options);
  options.value("out", "DIR", "", "where to leave the tables: replay.csv, summary.csv, headroom.csv, ...");
  options.flag("matrix", "also every combination of a scorer, an allocator and a selector");
  options.value(
      "tune", "GRID", "",
      "grid-search these parameters: select on one half of every task's prompts, report on the held-out half: "
      "tau1=0.4:2:log5,tau2=0.5|1|2");
  options.flag("layers", "also a row per layer in replay.csv, budgets.csv and trajectory.csv");
  options.value("headroom", "yes|no", "yes", "what better scoring and allocation could gain: headroom.csv");
  declare_measures(options);
  declare_calibration(options);
  declare_threads(options);
  options.flag("force", "replace existing results, and start over");
}

lab::SweepOptions sweep_options(const Options& options, lab::Ranks& ranks) {
  lab::SweepOptions sweep{.out = options.path("out"), .ranks = &ranks};
  sweep.headroom = options.choice("headroom", {"yes", "no"}) == "yes";
  sweep.traces = options.paths("trace");
  sweep.policies = policy_request(options, !options.has("matrix"));
  sweep.budgets = options.text("budget");
  sweep.matrix = options.has("matrix");
  sweep.tune = options.optional_text("tune");
  sweep.layers = options.has("layers");
  sweep.full_measures = wants_full_measures(options);
  sweep.calibration = options.optional_path("calibration");
  sweep.force = options.has("force");
  sweep.command = command_line();
  return sweep;
}

}  // namespace

int run_sweep(const Arguments& arguments) {
  Options options(
      "sweep", "TRACE ... --policy LIST --budget LIST --out DIR [OPTION ...]",
      "Replays every policy at every budget of a range: one ranking a policy serves all budgets. Tells how\n"
      "far each is from the best possible, and whether better scoring or better allocation could gain it.\n"
      "A sweep that was stopped goes on with the same command. Under mpirun, prompts are spread over ranks.");
  declare_sweep(options);
  return run_on_ranks(
      options, arguments,
      [&](lab::Ranks& ranks, lab::Observer& observer) { return lab::sweep(sweep_options(options, ranks), observer); },
      [](const lab::SweepOutcome& outcome) {
        std::cout << sweep_summary(outcome.summary);
        if (const std::string note = results::extrapolation_note(outcome.replay); !note.empty())
          std::cout << note << '\n';
        if (outcome.headroom) std::cout << headroom_summary(*outcome.headroom);
        if (outcome.tuning) std::cout << tuning_summary(*outcome.tuning);
        report_written(outcome.files);
      });
}

}  // namespace evictlab::cli
