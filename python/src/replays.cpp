#include <map>
#include <memory>
#include <optional>

#include "binding.hpp"
#include "lab/analyze.hpp"
#include "lab/fit.hpp"
#include "lab/replay.hpp"
#include "lab/sweep.hpp"
#include "trace/io/joined.hpp"

namespace evictlab::python {
namespace {

using Paths = std::vector<std::filesystem::path>;
using OptionalPath = std::optional<std::filesystem::path>;

/// Tables by name; those that are not there are left out.
class TableDict {
 public:
  TableDict& add(const char* name, const results::Table& table) {
    tables_[name] = columns_of(table);
    return *this;
  }
  TableDict& add(const char* name, const std::optional<results::Table>& table) {
    return table ? add(name, *table) : *this;
  }
  const py::dict& tables() const { return tables_; }

 private:
  py::dict tables_;
};

/// What replay and sweep return: the tables, the policies left out, and what policies noted.
py::dict result_of(const TableDict& tables, const std::vector<std::string>& left_out,
                   const std::map<std::string, sim::ReplayResult::NoteTotal>& notes) {
  py::list texts;
  for (const auto& [note, total] : notes) texts.append(note);
  return py::dict(py::arg("tables") = tables.tables(), py::arg("left_out") = left_out, py::arg("notes") = texts);
}

py::dict replay(const Paths& paths, const std::vector<sim::Policy>& policies, const std::string& budgets, bool headroom,
                bool full_measures, const OptionalPath& calibration, const py::object& progress) {
  lab::ReplayOptions options{.traces = paths, .policies = {.policies = policies}, .budgets = budgets};
  options.calibration = calibration;
  options.headroom = headroom;
  options.full_measures = full_measures;
  lab::ReplayOutcome outcome;
  std::vector<std::string> left_out;
  run_interruptibly(progress, [&](const Progress& report) {
    Collector collector(report);
    outcome = lab::replay(options, collector);
    left_out = collector.left_out;
  });
  TableDict tables;
  outcome.each([&](const char* name, const results::Table& table) { tables.add(name, table); });
  tables.add("summary", outcome.summary);
  return result_of(tables, left_out, outcome.tables.notes);
}

py::dict sweep(const Paths& paths, const std::vector<sim::Policy>& policies, const std::string& budgets,
               const std::string& protect, bool matrix, const std::string& tune, bool layers, bool full_measures,
               const OptionalPath& out, const OptionalPath& calibration, bool force, const py::object& progress) {
  lab::SweepOptions options{
      .traces = paths, .policies = {.protect = protect, .policies = policies}, .budgets = budgets};
  options.matrix = matrix;
  if (!tune.empty()) options.tune = tune;
  options.calibration = calibration;
  options.layers = layers;
  options.full_measures = full_measures;
  options.out = out;
  options.force = force;
  options.command = "evictlab.sweep";
  lab::SweepOutcome outcome;
  std::vector<std::string> left_out;
  run_interruptibly(progress, [&](const Progress& report) {
    Collector collector(report);
    outcome = lab::sweep(options, collector);
    left_out = collector.left_out;
  });
  TableDict tables;
  tables.add("replay", outcome.replay).add("summary", outcome.summary).add("headroom", outcome.headroom);
  tables.add("tune", outcome.tuning).add("budgets", outcome.budgets).add("trajectory", outcome.trajectory);
  return result_of(tables, left_out, outcome.notes);
}

/// Kept positions of one policy at one budget: {prompt: [layers][sets] of positions, in storage order}.
py::dict kept(const std::vector<std::filesystem::path>& paths, const sim::Policy& policy, const std::string& budget) {
  const std::unique_ptr<trace::Source> trace = trace::open_traces(paths);
  const std::vector<sim::Budget> parsed = sim::parse_budgets(budget);
  if (parsed.size() != 1) throw sim::PolicyError("one budget, not {}", parsed.size());
  std::map<std::string, std::vector<std::vector<std::vector<std::int32_t>>>> positions;
  run_interruptibly(py::none(), [&](const Progress& tell) {
    sim::ReplayOptions options;
    options.progress = tell;
    options.tables = false;
    options.retention = [&](const sim::RetentionRecord& record) {
      auto& layers = positions[record.prompt.id];
      for (const sim::LayerRetention& layer : record.retention.layers) {
        auto& sets = layers.emplace_back();
        for (sim::Index set = 0; set < layer.sets(); ++set)
          sets.emplace_back(layer.kept(set).begin(), layer.kept(set).end());
      }
    };
    sim::replay(*trace, {&policy, 1}, parsed, options);
  });
  return py::cast(positions).cast<py::dict>();
}

py::dict analyze(const std::filesystem::path& path, const std::string& sensitivity, const py::object& progress) {
  lab::AnalyzeOutcome outcome;
  const lab::AnalysisSettings settings{.sensitivity = sensitivity};
  run_interruptibly(progress, [&](const Progress& report) {
    Collector collector(report);
    outcome = lab::analyze({.traces = {path}, .settings = settings}, collector);
  });
  TableDict tables;
  outcome.recordings.front().tables.each(
      [&](const char* name, const results::Table& table) { tables.add(name, table); });
  return tables.tables();
}

py::dict fit(const std::vector<std::filesystem::path>& paths, const std::filesystem::path& out,
             const std::vector<sim::Policy>& policies, const std::string& budgets, const std::string& unit,
             const std::vector<std::string>& only, bool force, const py::object& progress) {
  lab::FitOptions options{.traces = paths, .only = only, .budgets = budgets, .out = out, .force = force};
  options.unit = lab::loss_unit(unit);
  if (!policies.empty()) options.policies = {.policies = policies};
  options.command = "evictlab.fit";
  lab::FitOutcome outcome;
  std::vector<std::string> left_out;
  run_interruptibly(progress, [&](const Progress& report) {
    Collector collector(report);
    outcome = lab::fit(options, collector);
    left_out = collector.left_out;
  });
  TableDict tables;
  tables.add("fit", outcome.trials).add("fit_budgets", outcome.budgets);
  py::dict result = result_of(tables, left_out, {});
  result["policy"] = outcome.policy.string();
  return result;
}

}  // namespace

void bind_replays(py::module_& module) {
  module.def("replay", &replay, py::arg("traces"), py::arg("policies"), py::arg("budgets"), py::arg("headroom"),
             py::arg("full_measures"), py::arg("calibration"), py::arg("progress"));
  module.def("sweep", &sweep, py::arg("traces"), py::arg("policies"), py::arg("budgets"), py::kw_only(),
             py::arg("protect"), py::arg("matrix"), py::arg("tune"), py::arg("layers"), py::arg("full_measures"),
             py::arg("out"), py::arg("calibration"), py::arg("force"), py::arg("progress"));
  module.def("kept", &kept, py::arg("traces"), py::arg("policy"), py::arg("budget"));
  module.def("fit", &fit, py::arg("traces"), py::arg("out"), py::arg("policies"), py::arg("budgets"), py::arg("unit"),
             py::arg("only"), py::arg("force"), py::arg("progress"));
  module.def("analyze", &analyze, py::arg("trace"), py::arg("sensitivity"), py::arg("progress"));
}

}  // namespace evictlab::python
