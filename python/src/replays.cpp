#include "sim/replay/replay.hpp"

#include "binding.hpp"
#include "cli/analysis_tables.hpp"
#include "cli/policy_options.hpp"
#include "results/summary.hpp"
#include "sim/replay/kept_overlap.hpp"
#include "trace/io/joined.hpp"

namespace evictlab::python {
namespace {

std::unique_ptr<trace::Source> opened(const std::vector<std::filesystem::path>& paths) {
  return trace::open_traces(paths);
}

/// The policies that every prompt can serve; why the others are left out is appended to `left_out`. One that was asked
/// for alone must be served.
std::vector<sim::Policy> served(const std::vector<sim::Policy>& policies, const trace::Source& trace,
                                py::list& left_out) {
  std::vector<sim::Policy> usable;
  for (const sim::Policy& policy : policies) {
    try {
      for (const trace::PromptInfo& prompt : trace.prompts()) sim::check_needs(policy, prompt);
      usable.push_back(policy);
    } catch (const sim::PolicyError& error) {
      if (policies.size() == 1) throw;
      left_out.append(std::string(error.what()));
    }
  }
  if (usable.empty())
    throw sim::PolicyError("the trace can serve none of the policies: {}", left_out[0].cast<std::string>());
  return usable;
}

/// The tables of sim::ReplayResult by name, with `kept_overlap`, the policies `left_out` and what policies had to say.
py::dict replay(const std::vector<std::filesystem::path>& paths, const std::vector<sim::Policy>& policies,
                const std::string& budgets, bool headroom, const py::object& progress) {
  const std::unique_ptr<trace::Source> trace = opened(paths);
  py::list left_out;
  const std::vector<sim::Policy> usable = served(policies, *trace, left_out);
  const std::vector<sim::Budget> parsed = sim::parse_budgets(budgets);
  sim::KeptOverlap overlap(parsed, trace->model().query_heads);
  sim::ReplayResult result;
  run_interruptibly(progress, [&](const Progress& tell) {
    sim::ReplayOptions options;
    options.headroom = headroom;
    options.progress = tell;
    options.retention = [&](const sim::RetentionRecord& record) { overlap.add(record); };
    result = sim::replay(*trace, usable, parsed, options);
  });
  py::dict tables;
  tables["replay"] = columns_of(result.replay);
  tables["budgets"] = columns_of(result.budgets);
  tables["positions"] = columns_of(result.positions);
  tables["spans"] = columns_of(result.spans);
  tables["trajectory"] = columns_of(result.trajectory);
  tables["kept_overlap"] = columns_of(overlap.finish());
  if (headroom) tables["headroom"] = columns_of(result.headroom);
  tables["summary"] = columns_of(results::summarize(result.replay));
  py::list notes;
  for (const auto& [note, total] : result.notes) notes.append(note);
  return py::dict(py::arg("tables") = tables, py::arg("left_out") = left_out, py::arg("notes") = notes);
}

/// Kept positions of one policy at one budget: {prompt: [layers][sets] of positions, in storage order}.
py::dict kept(const std::vector<std::filesystem::path>& paths, const sim::Policy& policy, const std::string& budget) {
  const std::unique_ptr<trace::Source> trace = opened(paths);
  const std::vector<sim::Budget> parsed = sim::parse_budgets(budget);
  if (parsed.size() != 1) throw sim::PolicyError("one budget, not {}", parsed.size());
  std::map<std::string, std::vector<std::vector<std::vector<std::int32_t>>>> positions;
  run_interruptibly(py::none(), [&](const Progress& tell) {
    sim::ReplayOptions options;
    options.progress = tell;
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

py::dict analyze(const std::filesystem::path& path, const py::object& progress) {
  const std::unique_ptr<trace::Source> trace = opened({path});
  std::optional<cli::AnalysisTables> made;
  run_interruptibly(progress,
                    [&](const Progress&) { made = cli::analysis_tables(*trace, cli::AnalysisSettings::defaults()); });
  py::dict tables;
  made->each([&](const std::string& name, const results::Table& table) { tables[py::str(name)] = columns_of(table); });
  return tables;
}

}  // namespace

void bind_replays(py::module_& module) {
  module.def("replay", &replay, py::arg("traces"), py::arg("policies"), py::arg("budgets"), py::arg("headroom"),
             py::arg("progress"));
  module.def("kept", &kept, py::arg("traces"), py::arg("policy"), py::arg("budget"));
  module.def("analyze", &analyze, py::arg("trace"), py::arg("progress"));
}

}  // namespace evictlab::python
