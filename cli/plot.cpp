#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "cli/options.hpp"
#include "cli/outputs.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "plots/figures.hpp"
#include "plots/terminal.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

// The named table and those that stand beside it; in a directory, those it holds.
plots::ResultTables read_tables(const fs::path& results) {
  const auto read = [](const fs::path& path) -> std::optional<analysis::Table> {
    if (!fs::exists(path)) return std::nullopt;
    return analysis::Table::from_csv(core::read_text(path), path.string());
  };
  if (!fs::exists(results)) throw core::InputError("{}: no such file or directory", results.string());
  const bool named = !fs::is_directory(results);
  const fs::path directory = named ? results.parent_path() : results;
  plots::ResultTables tables;
  std::vector<std::string> looked_for;
  plots::ResultTables::each(tables, [&](const std::string& name, std::optional<analysis::Table>& table) {
    looked_for.push_back(name + ".csv");
    table = read(named && name == "replay" ? results : directory / looked_for.back());
  });
  bool any = false;
  plots::ResultTables::each(tables, [&](const std::string&, const auto& table) { any = any || table.has_value(); });
  if (!any) throw core::InputError("{}: holds none of {}", results.string(), fmt::join(looked_for, ", "));
  return tables;
}

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

  if (options.has("terminal")) {
    const std::string text = plots::terminal_plots(read_tables(options.path("results")), terminal_columns());
    if (text.empty()) throw core::InputError("{}: no replay or analysis of it to draw", options.text("results"));
    std::cout << text;
    return 0;
  }
  const fs::path directory = options.path("out");
  const std::vector<plots::Figure> figures = plots::all_figures(read_tables(options.path("results")));
  if (figures.empty()) throw core::InputError("{}: its tables have no row to draw", options.text("results"));
  const Outputs outputs(options.has("force"));
  for (const plots::Figure& figure : figures) {
    for (const fs::path& file : plots::files_of(figure, directory)) outputs.plan(file);
  }
  for (const plots::Figure& figure : figures) {
    core::throw_if_interrupted();
    for (const fs::path& file : plots::draw(figure, directory)) std::cerr << fmt::format("wrote {}\n", file.string());
  }
  return 0;
}

}  // namespace evictlab::cli
