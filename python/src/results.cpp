#include <optional>

#include "binding.hpp"
#include "lab/advise.hpp"
#include "lab/report.hpp"
#include "plots/figures.hpp"
#include "plots/gnuplot.hpp"

namespace evictlab::python {
namespace {

/// Draws the figures of {table's name: {column: values}}, or the one called `only`: [(name, SVG)].
py::list draw(const py::dict& columns, const std::string& only) {
  plots::ResultTables tables;
  for (const std::string& name : plots::figure_tables()) {
    if (columns.contains(name)) tables.emplace(name, table_of(columns[py::str(name)].cast<py::dict>()));
  }
  std::vector<std::string> left_out;
  std::vector<plots::Figure> figures = plots::all_figures(tables, &left_out);
  if (figures.empty() && !left_out.empty()) throw plots::PlotError("{}", left_out.front());
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

/// The fields of evictlab.Advice, its budgets as [layers][kept sets].
py::dict advise(const std::vector<std::filesystem::path>& traces, std::optional<double> loss, const std::string& bytes,
                const std::string& measure, const std::optional<std::string>& policies,
                const std::optional<std::filesystem::path>& calibration, const py::object& progress) {
  using namespace py::literals;
  lab::AdviseOptions options{.traces = traces, .loss = loss, .bytes = bytes, .measure = measure};
  options.calibration = calibration;
  if (policies) options.policies.list = *policies;
  std::optional<lab::AdviseOutcome> outcome;
  run_interruptibly(progress, [&](const Progress& report) {
    Collector collector(report);
    outcome = lab::advise(options, collector);
  });
  const results::Interval& interval = outcome->run.loss;
  return py::dict("policy"_a = outcome->policy.text(), "budget"_a = outcome->budget.text(),
                  "granularity"_a = std::string(sim::granularity_name(outcome->policy.granularity)),
                  "slots"_a = outcome->run.slots, "bytes"_a = outcome->run.bytes,
                  "loss"_a = py::dict("mean"_a = interval.mean, "low"_a = interval.low, "high"_a = interval.high),
                  "budgets"_a = outcome->budgets, "text"_a = lab::advice_text(*outcome), "model"_a = outcome->model,
                  "model_fingerprint"_a = outcome->model_fingerprint);
}

/// Writes the page; returns its path.
std::filesystem::path report(const std::filesystem::path& results, const std::filesystem::path& page,
                             const std::optional<std::filesystem::path>& model,
                             const std::optional<std::string>& policies, const std::optional<std::string>& budgets,
                             const std::optional<std::filesystem::path>& calibration, bool force,
                             const py::object& progress) {
  lab::ReportOptions options{.results = results, .model = model, .page = page, .force = force};
  if (policies) options.policies.list = *policies;
  if (budgets) options.budgets = *budgets;
  options.calibration = calibration;
  options.command = "evictlab.report";
  lab::ReportOutcome outcome;
  run_interruptibly(progress, [&](const Progress& show) {
    Collector collector(show);
    outcome = lab::report(options, collector);
  });
  return outcome.page;
}

}  // namespace

void bind_results(py::module_& module) {
  module.def("draw", &draw, py::arg("tables"), py::arg("only") = "");
  module.def("advise", &advise, py::arg("traces"), py::kw_only(), py::arg("loss"), py::arg("bytes"), py::arg("measure"),
             py::arg("policies"), py::arg("calibration"), py::arg("progress"));
  module.def("report", &report, py::arg("results"), py::arg("page"), py::kw_only(), py::arg("model"),
             py::arg("policies"), py::arg("budgets"), py::arg("calibration"), py::arg("force"), py::arg("progress"));
}

}  // namespace evictlab::python
