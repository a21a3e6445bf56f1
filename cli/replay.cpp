#include "lab/replay.hpp"

#include <iostream>

#include "cli/common_options.hpp"
#include "cli/console.hpp"
#include "cli/policy_options.hpp"
#include "cli/replay_summary.hpp"
#include "results/leading.hpp"

namespace evictlab::cli {
namespace {

void declare_replay(Options& options) {
  options.positional("trace", "the trace: a file or a directory of parts", Options::Count::kOne);
  declare_policies(options);
  options.value("out", "FILE.csv", "", "the table to write");
  options.value("constrain", "LIST", "",
                "also replay every policy under constraints and report what they cost: share=kv|layer (one kept set "
                "for all heads of), blocks=16 (kept in blocks), layers=uniform");
  options.value("scores", "FILE.h5", "", "scores made elsewhere, for compose(scorer=given,...); see docs/importing.md");
  options.value("budgets", "FILE", "", "budgets made elsewhere (JSON or HDF5), for compose(allocator=given,...)");
  options.value("kept", "FILE.h5", "",
                "also write which positions were kept; without --policy: judge what this file says was kept");
  declare_measures(options);
  declare_calibration(options);
  declare_threads(options);
  options.flag("force", "replace existing results");
}

lab::ReplayOptions replay_options(const Options& options) {
  const bool imports = options.has("scores") || options.has("budgets");
  // --kept says what to judge instead of where to write, where there is no policy to replay.
  const bool judges = options.has("kept") && !options.has("policy") && !imports;
  lab::ReplayOptions replay{.traces = {options.path("trace")}, .out = options.path("out")};
  replay.policies = policy_request(options, !judges && !imports);
  replay.budgets = options.text_or_empty("budget");
  replay.constraints = options.text_or_empty("constrain");
  replay.scores = options.optional_path("scores");
  replay.budget_file = options.optional_path("budgets");
  (judges ? replay.judged : replay.kept) = options.optional_path("kept");
  replay.full_measures = wants_full_measures(options);
  replay.calibration = options.optional_path("calibration");
  replay.force = options.has("force");
  replay.command = command_line();
  return replay;
}

}  // namespace

int run_replay(const Arguments& arguments) {
  Options options(
      "replay", "TRACE --policy LIST --budget LIST --out replay.csv [OPTION ...]",
      "Replays eviction policies at budgets from a recorded trace: what each keeps, what that costs, and how\n"
      "far it is from the oracle. Writes the table, budgets.csv, positions.csv, spans.csv, trajectory.csv,\n"
      "curves.csv and kept_overlap.csv beside it, and a manifest.");
  declare_replay(options);
  if (!options.parse(arguments)) return 0;

  use_threads(options);
  Console console;
  const lab::ReplayOutcome outcome = lab::replay(replay_options(options), console);
  std::cout << replay_summary(outcome.summary);
  if (const std::string note = results::extrapolation_note(outcome.tables.replay); !note.empty()) {
    std::cout << '\n' << note << '\n';
  }
  if (outcome.constraint_costs) std::cout << constraints_summary(*outcome.constraint_costs);
  report_written(outcome.files);
  return 0;
}

}  // namespace evictlab::cli
