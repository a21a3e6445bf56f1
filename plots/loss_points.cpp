#include "plots/loss_points.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "plots/series.hpp"

namespace evictlab::plots {
namespace {

using results::Measure;
using results::Run;

/// Infeasible runs have no slots, and none have no place on a logarithmic axis.
bool holds_slots(const Run& run) { return run.slots_held.value_or(0) > 0; }

}  // namespace

std::string loss_label(Measure measure) {
  const results::MeasureInfo& info = results::info(measure);
  return fmt::format("{}{}", info.better == results::Better::kHigher ? "1 − " : "", info.label);
}

ReplayLosses::ReplayLosses(const results::Table& replay) {
  results::require_columns(replay, {"task", "slots_held", "layer", results::info(Measure::kRetainedMass).column});
  const std::vector<Run> runs = results::runs_over_layers(replay);
  for (const Run& run : runs) {
    prompts_.insert(run.prompt);
    prompts_by_task_[run.task].insert(run.prompt);
    if (!holds_slots(run)) continue;
    for (const results::MeasureInfo& measure : results::measures()) {
      if (run[measure.id]) measured_.insert(measure.id);
    }
  }
  budgets_ = results::by_budget(runs);
}

std::vector<ReplayLosses::Point> ReplayLosses::points(const results::PolicyKey& key, Measure measure,
                                                      const std::set<std::string>& prompts) const {
  std::vector<Point> points;
  for (const results::BudgetRuns& budget : budgets_) {
    const results::PolicyRuns* const policy = budget.find(key);
    if (policy == nullptr) continue;
    double slots = 0;
    std::map<std::string, double> losses;
    for (const Run& run : policy->runs) {
      if (!run[measure] || !holds_slots(run) || !prompts.contains(run.prompt)) continue;
      slots += *run.slots_held;
      losses[run.prompt] = results::amount_lost(measure, *run[measure]);
    }
    if (losses.size() != prompts.size()) continue;
    points.push_back({slots / static_cast<double>(losses.size()), estimate(losses)});
  }
  std::ranges::sort(points, {}, &Point::slots);
  // A policy that ignores the budget (full) holds the same at every one of them.
  const auto same = [](const Point& a, const Point& b) { return a.slots == b.slots && a.loss.mean == b.loss.mean; };
  points.erase(std::unique(points.begin(), points.end(), same), points.end());
  return points;
}

}  // namespace evictlab::plots
