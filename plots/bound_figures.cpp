#include <fmt/format.h>

#include <array>
#include <cmath>
#include <map>
#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/series.hpp"

namespace evictlab::plots {
namespace {

using results::Table;

struct Bound {
  const char* column;
  const char* label;
  Style style;
};

}  // namespace

std::vector<Figure> bound_figures(const Table& table) {
  const std::array<Bound, 4> bounds = {{{"ada_bound", "Ada-KV bound", {"#D55E00", 9, "solid", 2}},
                                        {"head_bound", "per-head bound", {"#E69F00", 7, "solid", 2}},
                                        {"keptmax_bound", "kept-max bound", {"#0072B2", 5, "solid", 2}},
                                        {"value_bound", "value-aware bound", {"#009E73", 13, "solid", 2}}}};
  if (!find_column(table, "exact_loss")) return {};
  const std::size_t prompt = table.column("prompt");
  const std::size_t budget = table.column("budget_requested");
  const std::size_t layer = table.column("layer");
  const std::size_t slots = table.column("slots_held");
  const std::size_t exact = table.column("exact_loss");
  // By bound, budget and prompt: the mean over policies of ln(bound / exact), so that ratios average as ratios.
  std::array<std::map<std::string, std::map<std::string, std::pair<double, int>>>, 4> logs;
  std::map<std::string, std::pair<double, int>> held;
  std::set<std::string> prompts;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto loss = table.number(r, exact);
    const auto at = table.number(r, slots);
    if (table.text(r, layer) != "all" || !loss || !at || *loss <= 1e-9) continue;
    prompts.insert(table.text(r, prompt));
    held[table.text(r, budget)].first += *at;
    ++held[table.text(r, budget)].second;
    for (std::size_t b = 0; b < bounds.size(); ++b) {
      const auto value = table.number(r, table.column(bounds[b].column));
      if (!value || *value <= 0) continue;
      auto& [sum, count] = logs[b][table.text(r, budget)][table.text(r, prompt)];
      sum += std::log(*value / *loss);
      ++count;
    }
  }
  if (prompts.empty()) return {};
  Canvas::Legend legend;
  for (const Bound& bound : bounds) legend.emplace_back(bound.label, bound.style);
  Canvas canvas({.name = "bounds",
                 .title = "How far the bounds are above the exact loss",
                 .caption = mean_over(prompts.size(), true) + "; geometric mean over policies",
                 .panels = 1,
                 .panel_width = 600,
                 .panel_height = 380,
                 .legend = legend});
  std::vector<std::string> plots;
  for (std::size_t b = 0; b < bounds.size(); ++b) {
    std::map<double, std::string> points;  // by slots
    for (const auto& [requested, by_prompt] : logs[b]) {
      std::map<std::string, double> means;
      for (const auto& [name, mean] : by_prompt) means[name] = mean.first / mean.second;
      const results::Interval ratio = estimate(means);
      const double x = held.at(requested).first / held.at(requested).second;
      points[x] = fmt::format("{:.9g} {:.9g} {:.9g} {:.9g}\n", x, std::exp(ratio.mean), std::exp(ratio.low),
                              std::exp(ratio.high));
    }
    std::string lines;
    for (const auto& [x, line] : points) lines += line;
    if (lines.empty()) continue;
    const auto drawn = line_with_bars(canvas.add_data(lines), bounds[b].style);
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
