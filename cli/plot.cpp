#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "cli/console.hpp"
#include "cli/options.hpp"
#include "core/error.hpp"
#include "lab/plot.hpp"
#include "lab/result_tables.hpp"
#include "plots/terminal.hpp"

namespace evictlab::cli {
namespace {

/// Of the terminal that stdout is, within what a plot can use.
int terminal_columns() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return std::clamp(known ? static_cast<int>(size.ws_col) : 100, 60, 160);
}

}  // namespace

int run_plot(const Arguments& arguments) {
  Options options(
      "plot", "RESULTS --out DIR [--force] | RESULTS --terminal",
      "Draws figures, as PNG, SVG and PDF, from the result tables of replay and analyze: RESULTS is their directory,\n"
      "or a replay table beside which the others are looked for. With --terminal, prints the main curves as text.");
  options.positional("results", "a directory with result tables, or a replay table", Options::Count::kOne);
  options.value("out", "DIR", "", "where to write the figures");
  options.flag("terminal", "print loss by budget and the layers' shares of it as text, for a terminal");
  options.flag("force", "replace existing figures");
  if (!options.parse(arguments)) return 0;

  Console console;
  if (options.has("terminal")) {
    for (const char* name : {"out", "force"})
      options.refuse(name, "does not go with --terminal, which writes no files");
    const std::string text =
        plots::terminal_plots(lab::read_result_tables(options.path("results")), terminal_columns());
    if (text.empty()) throw core::InputError("{}: no replay or analysis of it to draw", options.text("results"));
    std::cout << text;
    return 0;
  }
  const lab::PlotOutcome outcome =
      lab::plot({options.path("results"), options.path("out"), options.has("force")}, console);
  for (const std::filesystem::path& file : outcome.files) std::cerr << fmt::format("wrote {}\n", file.string());
  return 0;
}

}  // namespace evictlab::cli
