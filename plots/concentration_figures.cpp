#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "plots/series.hpp"
#include "results/rows.hpp"

namespace evictlab::plots {
namespace {

using results::RowView;
using results::Table;

struct Concentration {
  std::map<std::string, CellMap> heads;                  // by layer: x = number of the fraction, y = head
  std::map<double, std::map<double, CellMap>> by_layer;  // layer, fraction: one cell, the mean over heads and prompts
  std::vector<double> fractions;
  std::set<std::string> prompts;
};

Concentration read_concentration(const Table& table) {
  std::set<double> fractions;
  for (const RowView row : results::RowsOf(table)) fractions.insert(row.number("fraction").value_or(0));
  Concentration result;
  result.fractions.assign(fractions.begin(), fractions.end());
  for (const RowView row : results::RowsOf(table)) {
    const auto mass = row.number("mass");
    if (!mass) continue;
    const double layer = row.index("layer").value_or(0);
    const double fraction = row.number("fraction").value_or(0);
    const auto place = std::ranges::lower_bound(result.fractions, fraction) - result.fractions.begin();
    result.heads[fmt::format("{}", layer)].add(static_cast<double>(place), row.index("head").value_or(0), *mass);
    result.by_layer[layer][fraction].add(0, 0, *mass);
    result.prompts.insert(row.prompt());
  }
  return result;
}

std::vector<std::string> percents(const std::vector<double>& fractions) {
  std::vector<std::string> names;
  for (const double fraction : fractions) names.push_back(fmt::format("{:g} %", 100 * fraction));
  return names;
}

/// A panel per layer, heads x fractions; of more than 32 layers, 32 evenly chosen.
Figure heads_figure(const Concentration& data) {
  std::vector<std::string> layers;
  for (const auto& [layer, cells] : data.by_layer) layers.push_back(fmt::format("{}", layer));
  constexpr std::size_t kMost = 32;
  const std::vector<std::string> drawn = results::spread(layers, kMost);
  const double last_head = data.heads.at(layers.front()).last_y();
  const std::string chosen = layers.size() > kMost ? fmt::format(", {} of {} layers", kMost, layers.size()) : "";
  Canvas canvas({.name = "concentration",
                 .title = "How much of a head's attention its most attended positions hold",
                 .caption = mean_over(data.prompts.size(), false) + ", window queries" + chosen,
                 .panels = static_cast<int>(drawn.size()),
                 .columns = drawn.size() > 8 ? 6 : 4,
                 .panel_width = 190,
                 .panel_height = std::clamp(static_cast<int>(18 * (last_head + 1)), 120, 240),
                 .left = 74,
                 .below = 92,
                 .color_scale_width = 150});
  const std::vector<std::string> names = percents(data.fractions);
  for (const std::string& layer : drawn) {
    const CellMap& map = data.heads.at(layer);
    canvas.add_panel("layer " + layer,
                     sequential_palette() + "set cbrange [0:1]\n" +
                         map_panel(canvas.add_data(map.lines()),
                                   {"positions", static_cast<double>(names.size()) - 1, names}, {"head", last_head}));
  }
  canvas.add_color_scale("share of attention", 0, 1, "0,0.2");
  return canvas.finish();
}

/// A cumulative curve per layer, coloured by depth.
Figure curves_figure(const Concentration& data) {
  const double last = std::max(data.by_layer.rbegin()->first, 1.0);
  Canvas canvas({.name = "mass_curves",
                 .title = "Attention held by the most attended positions, by layer",
                 .caption = mean_over(data.prompts.size(), false) + ", heads and window queries",
                 .panels = 1,
                 .panel_width = 600,
                 .panel_height = 400,
                 .color_scale_width = 150});
  std::vector<std::string> plots;
  for (const auto& [layer, by_fraction] : data.by_layer) {
    std::string points;
    for (const auto& [fraction, cell] : by_fraction)
      points += fmt::format("{:.9g} {:.9g} {:.9g}\n", fraction, cell.highest(), layer);
    plots.push_back(
        fmt::format("{} using 1:2:3 with linespoints lw 2 pt 7 ps 0.8 lc palette notitle", canvas.add_data(points)));
  }
  canvas.add_panel(
      "",
      sequential_palette() +
          fmt::format("set cbrange [0:{:.9g}]\nunset colorbox\nset xlabel 'share of the positions' offset 0,0.3 "
                      "textcolor rgb '{}'\nset ylabel 'share of attention' offset 0.5,0 textcolor rgb '{}'\n"
                      "set logscale x 10\nset xrange [0.008:0.6]\nset yrange [0:1.02]\n"
                      "set xtics ('1 %%' 0.01, '2 %%' 0.02, '5 %%' 0.05, '10 %%' 0.1, '20 %%' 0.2, '50 %%' 0.5)\nplot ",
                      last, kTextColor, kTextColor) +
          joined(plots));
  canvas.add_color_scale("layer", 0, last, fmt::format("0,{}", tic_step(last)));
  return canvas.finish();
}

}  // namespace

/// Attention held by the most attended positions, per layer ("mass_curves") and head ("concentration").
std::vector<Figure> concentration_figures(const Table& table) {
  const Concentration data = read_concentration(table);
  if (data.heads.empty()) return {};
  return {curves_figure(data), heads_figure(data)};
}

}  // namespace evictlab::plots
