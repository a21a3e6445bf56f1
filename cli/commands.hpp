#pragma once

#include <string>
#include <vector>

namespace evictlab::cli {

/// What follows the command's name on the command line.
using Arguments = std::vector<std::string>;

/// One subcommand. `run` returns the exit code; it throws core::InputError for bad input (exit 2),
/// core::Interrupted after Ctrl-C (exit 130); anything else is a fault of ours (exit 1).
struct Command {
  const char* name;
  const char* summary;
  int (*run)(const Arguments&);
};

// The subcommands, in the order in which one meets them; run_<name>() is in cli/<name>.cpp.
#define EVICTLAB_COMMANDS(COMMAND)                                                                               \
  COMMAND(record, "let a model read prompts and record its per-layer attention state to a trace")                \
  COMMAND(info, "show what a trace holds")                                                                       \
  COMMAND(verify, "check a trace: hashes, shapes, attention rows")                                               \
  COMMAND(import, "make a trace of attention arrays that a framework returned")                                  \
  COMMAND(synth, "make a synthetic trace with known answers")                                                    \
  COMMAND(replay, "replay eviction policies at budgets from a trace: what is kept, what it costs")               \
  COMMAND(sweep, "replay every policy at every budget of a range: curves, regret, headroom; resumable")          \
  COMMAND(advise, "the cheapest policy and budget that meets a target, and its budgets for an engine")           \
  COMMAND(fit, "compile a policy from recordings: scorer, protection and budget per head")                       \
  COMMAND(validate,                                                                                              \
          "run the model with its cache really compacted: what eviction costs, and how well replay predicts it") \
  COMMAND(policies, "list the eviction policies, their parameters and sources")                                  \
  COMMAND(analyze, "describe how layers and heads attend")                                                       \
  COMMAND(plot, "draw figures from result tables")                                                               \
  COMMAND(report, "one HTML page from result tables: the answer first")                                          \
  COMMAND(demo, "record, verify, replay and plot on the shipped model")

#define EVICTLAB_DECLARE_COMMAND(name, summary) int run_##name(const Arguments& arguments);
EVICTLAB_COMMANDS(EVICTLAB_DECLARE_COMMAND)
#undef EVICTLAB_DECLARE_COMMAND

/// The program's whole command line, quoted for a shell: what traces and manifests record.
const std::string& command_line();

/// The program: dispatches to a command and turns exceptions into messages and exit codes.
int run(int argc, char** argv);

}  // namespace evictlab::cli
