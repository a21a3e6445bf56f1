#include <iostream>
#include <sstream>

#include "binding.hpp"
#include "cli/commands.hpp"
#include "plots/figures.hpp"
#include "plots/gnuplot.hpp"

namespace evictlab::python {
namespace {

/// Draws what {table's name: {column: values}} gives: [(name, SVG)]; of the figures, the one called `only`.
py::list draw(const py::dict& given, const std::string& only) {
  plots::ResultTables tables;
  for (const std::string& name : plots::figure_tables()) {
    if (given.contains(name)) tables.emplace(name, table_of(given[py::str(name)].cast<py::dict>()));
  }
  std::vector<plots::Figure> figures = plots::all_figures(tables);
  if (!only.empty()) std::erase_if(figures, [&](const plots::Figure& figure) { return figure.name != only; });
  py::list drawn;
  for (const plots::Figure& figure : figures) {
    std::string svg;
    {
      const py::gil_scoped_release release;
      svg = plots::draw_svg(figure);
    }
    drawn.append(py::make_tuple(figure.name, svg));
  }
  return drawn;
}

/// What the program says while this lives is kept.
class Captured {
 public:
  explicit Captured(std::ostream& stream) : stream_(stream), before_(stream.rdbuf(text_.rdbuf())) {}
  ~Captured() { stream_.rdbuf(before_); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::ostream& stream_;
  std::streambuf* before_;
};

/// Runs a command of the command line with these words; returns what it writes to its output.
std::string command(const std::string& name, const std::vector<std::string>& words) {
  for (const cli::Command& one : cli::commands()) {
    if (name != one.name) continue;
    const Captured out(std::cout);
    const Captured err(std::cerr);
    run_interruptibly(py::none(), [&](const Progress&) { one.run(words); });
    return out.text();
  }
  throw core::InputError("no command is called '{}'", name);
}

}  // namespace

void bind_results(py::module_& module) {
  module.def("draw", &draw, py::arg("tables"), py::arg("only") = "");
  module.def("command", &command, py::arg("name"), py::arg("words"));
}

}  // namespace evictlab::python
