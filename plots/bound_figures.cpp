#include <fmt/format.h>

#include <array>
#include <cmath>
#include <map>
#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/series.hpp"
#include "results/measures.hpp"
#include "results/run_table.hpp"

namespace evictlab::plots {
namespace {

using results::Measure;
using results::Run;

struct Bound {
  Measure measure;
  Style style;
};

const std::array<Bound, 4>& bounds() {
  static const std::array<Bound, 4> kBounds = {{{Measure::kAdaBound, {"#D55E00", 9, "solid", 2}},
                                                {Measure::kHeadBound, {"#E69F00", 7, "solid", 2}},
                                                {Measure::kKeptMaxBound, {"#0072B2", 5, "solid", 2}},
                                                {Measure::kValueBound, {"#009E73", 13, "solid", 2}}}};
  return kBounds;
}

/// Runs that lose anything, by budget: the ratios of a bound to the exact loss are taken of them.
std::map<std::string, std::vector<Run>> lossy_runs(const results::Table& table) {
  std::map<std::string, std::vector<Run>> runs;
  for (Run& run : results::runs_over_layers(table)) {
    if (!run.slots_held || run[Measure::kExactLoss].value_or(0) <= 1e-9) continue;
    std::vector<Run>& own = runs[run.budget_text];
    own.push_back(std::move(run));
  }
  return runs;
}

double mean_slots(const std::vector<Run>& runs) {
  double sum = 0;
  for (const Run& run : runs) sum += *run.slots_held;
  return sum / static_cast<double>(runs.size());
}

/// By prompt: the mean over policies of ln(bound / exact), so that ratios average as ratios.
std::map<std::string, double> log_ratios(const std::vector<Run>& runs, Measure bound) {
  std::map<std::string, std::pair<double, int>> sums;
  for (const Run& run : runs) {
    const auto value = run[bound];
    if (!value || *value <= 0) continue;
    auto& [sum, count] = sums[run.prompt];
    sum += std::log(*value / *run[Measure::kExactLoss]);
    ++count;
  }
  std::map<std::string, double> means;
  for (const auto& [prompt, sum] : sums) means[prompt] = sum.first / sum.second;
  return means;
}

/// Lines "slots ratio low high" of one bound, a budget each.
std::string bound_line(const std::map<std::string, std::vector<Run>>& runs, Measure bound) {
  std::map<double, std::string> points;  // by slots
  for (const auto& [budget, own] : runs) {
    const std::map<std::string, double> logs = log_ratios(own, bound);
    if (logs.empty()) continue;
    const results::Interval ratio = estimate(logs);
    const double slots = mean_slots(own);
    results::Interval factor{.mean = std::exp(ratio.mean)};
    if (ratio.low) factor.low = std::exp(*ratio.low);
    if (ratio.high) factor.high = std::exp(*ratio.high);
    points[slots] = point_with_bar(slots, factor);
  }
  std::string lines;
  for (const auto& [slots, line] : points) lines += line;
  return lines;
}

}  // namespace

/// How far the bounds are above the exact loss, by budget ("bounds"). Of full-tier recordings.
std::vector<Figure> bound_figures(const results::Table& table) {
  const std::map<std::string, std::vector<Run>> runs = lossy_runs(table);
  if (runs.empty()) return {};
  std::set<std::string> prompts;
  for (const auto& [budget, own] : runs) {
    for (const Run& run : own) prompts.insert(run.prompt);
  }
  Canvas::Legend legend;
  for (const Bound& bound : bounds()) {
    legend.emplace_back(std::string(results::info(bound.measure).label), bound.style);
  }
  Canvas canvas({.name = "bounds",
                 .title = "How far the bounds are above the exact loss",
                 .caption = mean_over(prompts.size(), true) + "; geometric mean over policies",
                 .panels = 1,
                 .panel_width = 600,
                 .panel_height = 380,
                 .legend = legend});
  std::vector<std::string> plots;
  for (const Bound& bound : bounds()) {
    const std::string line = bound_line(runs, bound.measure);
    if (line.empty()) continue;
    const auto drawn = line_with_bars(canvas.add_data(line), bound.style);
    plots.insert(plots.end(), drawn.begin(), drawn.end());
  }
  canvas.add_panel("", fmt::format("set xlabel 'slots held per layer and kv head' offset 0,0.3 textcolor rgb '{0}'\n"
                                   "set ylabel 'bound / exact loss' offset 0.5,0 textcolor rgb '{0}'\n"
                                   "set logscale x 2\nset logscale y 10\nset format x '%.0f'\nset format y '%g'\n"
                                   "set yrange [1:*]\nplot ",
                                   kTextColor) +
                           joined(plots));
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace evictlab::plots
