#pragma once

#include <span>
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

/// All subcommands in the order in which one meets them in a day's work.
std::span<const Command> commands();

// One file each: cli/<name>.cpp.
int run_record(const Arguments& arguments);
int run_info(const Arguments& arguments);
int run_verify(const Arguments& arguments);
int run_import(const Arguments& arguments);
int run_synth(const Arguments& arguments);
int run_replay(const Arguments& arguments);
int run_sweep(const Arguments& arguments);
int run_advise(const Arguments& arguments);
int run_validate(const Arguments& arguments);
int run_policies(const Arguments& arguments);
int run_analyze(const Arguments& arguments);
int run_plot(const Arguments& arguments);
int run_report(const Arguments& arguments);
int run_demo(const Arguments& arguments);

/// The program's whole command line, quoted for a shell: what traces and manifests record.
const std::string& command_line();

/// The program: dispatches to a command and turns exceptions into messages and exit codes.
int run(int argc, char** argv);

}  // namespace evictlab::cli
