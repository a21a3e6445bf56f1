#include "plots/loss_points.hpp"

#include <algorithm>
#include <optional>

namespace evictlab::plots {

ReplayLosses::ReplayLosses(const results::Table& table) {
  const std::size_t prompt = table.column("prompt");
  const std::size_t task = table.column("task");
  const std::size_t policy = table.column("policy");
  const std::size_t parameters = table.column("parameters");
  const std::size_t budget = table.column("budget_requested");
  const std::size_t slots = table.column("slots_held");
  const std::size_t layer = table.column("layer");
  for (std::size_t r = 0; r < table.rows(); ++r) {
    if (table.text(r, layer) != "all") continue;
    prompts_.insert(table.text(r, prompt));
    prompts_by_task_[table.text(r, task)].insert(table.text(r, prompt));
    const std::optional<double> held = table.number(r, slots);
    if (!held || *held <= 0) continue;  // infeasible, or not on a logarithmic axis
    Run run{*held, {}};
    for (const Measure& measure : {kMassLost, kOutputLoss, kRegret}) {
      const std::optional<std::size_t> column = find_column(table, measure.column);
      if (!column && measure.column != kRegret.column) table.column(measure.column);  // throws
      const auto value = column ? table.number(r, *column) : std::nullopt;
      if (!value) continue;
      run.losses[measure.column] = measure.complement ? 1 - *value : *value;
      measures_.insert(measure.column);
    }
    runs_[{table.text(r, policy), table.text(r, parameters)}][table.text(r, budget)][table.text(r, prompt)] = run;
  }
}

std::vector<ReplayLosses::Point> ReplayLosses::points(const PolicyKey& key, const Measure& measure,
                                                      const std::set<std::string>& prompts) const {
  std::vector<Point> points;
  const auto by_budget = runs_.find(key);
  if (by_budget == runs_.end()) return points;
  for (const auto& [budget, by_prompt] : by_budget->second) {
    double slots = 0;
    std::map<std::string, double> losses;
    for (const std::string& prompt : prompts) {
      const auto run = by_prompt.find(prompt);
      if (run == by_prompt.end() || !run->second.losses.contains(measure.column)) break;
      slots += run->second.slots;
      losses[prompt] = run->second.losses.at(measure.column);
    }
    if (losses.size() == prompts.size())
      points.push_back({slots / static_cast<double>(losses.size()), estimate(losses)});
  }
  std::ranges::sort(points, {}, &Point::slots);
  // A policy that ignores the budget (full) holds the same at every one of them.
  const auto same = [](const Point& a, const Point& b) { return a.slots == b.slots && a.loss.mean == b.loss.mean; };
  points.erase(std::unique(points.begin(), points.end(), same), points.end());
  return points;
}

}  // namespace evictlab::plots
