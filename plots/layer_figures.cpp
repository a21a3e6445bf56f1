#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "plots/series.hpp"
#include "results/task_values.hpp"

namespace evictlab::plots {
namespace {

using results::kAllTasks;
using results::Table;
using results::TaskValues;

struct LayerQuantity {
  const char* name;
  const char* title;
  const char* label;
};

/// Values below `least`, which a logarithmic axis cannot show, are drawn there.
std::string layer_points(const TaskValues::ByLayer& by_layer, double least = -1e300) {
  std::string points;
  for (const auto& [layer, value] : by_layer) {
    points += point_with_bar(layer, value, least);
  }
  return points;
}

std::string layer_lines_axes(const TaskValues& values, const char* label, const std::string& y_range) {
  return fmt::format(
      "unset logscale\nset grid\nset border 3\nset xlabel 'layer' offset 0,0.3 textcolor rgb '{0}'\n"
      "set ylabel {1} offset 0.5,0 textcolor rgb '{0}'\nset xrange [-0.4:{2:.9g}]\nset yrange {3}\n"
      "set xtics norotate 0,{4}\nset ytics auto\nset format x '%.0f'\nset format y '%g'\n",
      kTextColor, gnuplot_label(label), values.last_layer() + 0.4, y_range, tic_step(values.last_layer()));
}

Style all_style() { return {"#000000", 7, "solid", 2.6}; }

/// Panels of lines over layers, a line per task, the mean over all prompts in black with its intervals.
std::vector<Figure> lines_by_task(const TaskValues& values, std::string name, std::string title,
                                  std::span<const LayerQuantity> quantities) {
  std::vector<LayerQuantity> drawn;
  for (const LayerQuantity& quantity : quantities) {
    if (!values.at(quantity.name, kAllTasks).empty()) drawn.push_back(quantity);
  }
  if (drawn.empty()) return {};
  const bool several = values.tasks().size() > 1;
  Canvas::Legend legend{{task_label(kAllTasks, values.prompts(kAllTasks)), all_style()}};
  for (std::size_t t = 0; several && t < values.tasks().size(); ++t) {
    legend.emplace_back(task_label(values.tasks()[t], values.prompts(values.tasks()[t])), task_style(t));
  }
  Canvas canvas({.name = std::move(name),
                 .title = std::move(title),
                 .caption = mean_over(values.prompts(kAllTasks), true) + (several ? " for all; lines by task" : ""),
                 .panels = static_cast<int>(drawn.size()),
                 .columns = static_cast<int>(std::min<std::size_t>(drawn.size(), drawn.size() == 4 ? 2 : 3)),
                 .panel_width = 360,
                 .panel_height = 260,
                 .legend = legend});
  const double layers = values.last_layer() + 1;
  for (const LayerQuantity& quantity : drawn) {
    std::vector<std::string> plots;
    for (std::size_t t = 0; several && t < values.tasks().size(); ++t) {
      const std::string points = layer_points(values.at(quantity.name, values.tasks()[t]));
      if (points.empty()) continue;
      plots.push_back(fmt::format("{} using 1:2 with linespoints {} notitle", canvas.add_data(points),
                                  task_style(t).over(layers).gnuplot()));
    }
    const auto all =
        line_with_bars(canvas.add_data(layer_points(values.at(quantity.name, kAllTasks))), all_style().over(layers));
    plots.insert(plots.end(), all.begin(), all.end());
    canvas.add_panel(quantity.title, layer_lines_axes(values, quantity.label, "[0:*]") + "plot " + joined(plots));
  }
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace

/// What sets layers apart: dispersion, shift and the papers' preferences over layers, a line per task ("layers").
std::vector<Figure> layer_figures(const Table& tasks) {
  constexpr LayerQuantity kPreferences[] = {
      {"dispersion_normalized", "Dispersion (CAKE's H, normalised)", "share of the most there can be"},
      {"shift_normalized", "Shift (CAKE's V per head)", "summed variance"},
      {"preference_share", "CAKE's preference", "share of the budget"},
      {"retained_share", "DynamicKV's retained share", "share of the largest scores"},
      {"lazy_mass", "Last query on first and recent (lazy)", "attention"},
      {"window_hit_rate", "Foreseen by the window (SnapKV)", "share of the future's top set"}};
  return lines_by_task(TaskValues(tasks), "layers", "What sets the layers apart", kPreferences);
}

/// What the heads of a layer have in common, a line per task ("heads").
std::vector<Figure> head_figures(const Table& tasks) {
  constexpr LayerQuantity kHeads[] = {{"head_spread", "Spread of need over heads", "coefficient of variation"},
                                      {"group_cost", "Cost of one kept set per kv group", "attention mass"},
                                      {"group_overlap", "Overlap inside kv groups", "Jaccard index"},
                                      {"head_overlap", "Overlap between kv groups", "Jaccard index"},
                                      {"run_length", "Runs of top positions", "positions"}};
  return lines_by_task(TaskValues(tasks), "heads", "What the heads of a layer have in common", kHeads);
}

/// Tasks x layers, where there are several tasks: which layers each asks for, relative to an even split over the layers
/// ("layer_shares_by_task").
std::vector<Figure> layer_share_figures(const Table& tasks) {
  const TaskValues values(tasks);
  constexpr LayerQuantity kShares[] = {{"preference_share", "CAKE's preference", ""},
                                       {"retained_share", "DynamicKV's retained share", ""}};
  std::vector<std::string> names;
  for (const std::string& task : values.tasks()) names.push_back(task_label(task, values.prompts(task)));
  if (names.size() < 2) return {};
  const double kLimit = 2;  // powers of two
  const auto shown = [kLimit](double ratio) {
    return ratio > 0 ? std::clamp(std::log2(ratio), -kLimit, kLimit) : -kLimit;
  };
  Canvas canvas({.name = "layer_shares_by_task",
                 .title = "Which layers each task asks for",
                 .caption = "mean over the n prompts of each task; relative to an even split over the layers",
                 .panels = 2,
                 .columns = 2,
                 .panel_width = map_size(values.last_layer()) + 60,
                 .panel_height = map_size(static_cast<double>(names.size())),
                 .left = 70 + name_width(names),
                 .color_scale_width = 150});
  for (const LayerQuantity& share : kShares) {
    CellMap map;
    for (std::size_t t = 0; t < names.size(); ++t) {
      const TaskValues::ByLayer& by_layer = values.at(share.name, values.tasks()[t]);
      for (const auto& [layer, value] : by_layer) {
        map.add(layer, static_cast<double>(t), value.mean * static_cast<double>(by_layer.size()));
      }
    }
    canvas.add_panel(share.title, diverging_palette() + fmt::format("set cbrange [{}:{}]\n", -kLimit, kLimit) +
                                      map_panel(canvas.add_data(map.lines(shown)), layer_axis(values.last_layer()),
                                                {"", static_cast<double>(names.size()) - 1, names}));
  }
  canvas.add_color_scale("times an even split", -kLimit, kLimit, "('≤ 1/4' -2, '1/2' -1, '1' 0, '2' 1, '≥ 4' 2)");
  return {canvas.finish()};
}

/// Stacked areas: where each layer's attention goes, averaged over its heads ("attention_split").
std::vector<Figure> attention_split_figures(const Table& tasks) {
  const TaskValues values(tasks);
  struct Part {
    const char* name;
    const char* label;
    const char* color;
  };
  constexpr Part kParts[] = {{"sink_mass", "first positions", "#332288"},
                             {"recent_mass", "recent positions", "#56B4E9"},
                             {"heavy_mass", "heavy hitters", "#E69F00"},
                             {"rest_mass", "everything else", "#DDDDDD"}};
  if (values.at(kParts[0].name, kAllTasks).empty()) return {};
  Canvas::Legend legend;
  for (const Part& part : kParts) legend.emplace_back(part.label, Style{part.color, 0, "solid", 12});
  Canvas canvas({.name = "attention_split",
                 .title = "Where the attention of each layer goes",
                 .caption = mean_over(values.prompts(kAllTasks), false) + ", window queries and heads",
                 .panels = 1,
                 .panel_width = 560,
                 .panel_height = 300,
                 .legend = legend});
  std::map<double, double> below;
  std::vector<std::string> plots;
  for (const Part& part : kParts) {
    std::string boxes;
    for (const auto& [layer, value] : values.at(part.name, kAllTasks)) {
      const double bottom = below[layer];
      below[layer] = bottom + value.mean;
      boxes += fmt::format("{:.9g} {:.9g} {:.9g} {:.9g} {:.9g}\n", layer, layer - 0.4, layer + 0.4, bottom,
                           bottom + value.mean);
    }
    plots.push_back(fmt::format("{} using 1:4:2:3:4:5 with boxxyerror fs solid noborder lc rgb '{}' notitle",
                                canvas.add_data(boxes), part.color));
  }
  canvas.add_panel("", layer_lines_axes(values, "share of attention", "[0:1]") + "set xrange [-0.6:" +
                           fmt::format("{:.9g}", values.last_layer() + 0.6) + "]\nplot " + joined(plots));
  canvas.add_legend();
  return {canvas.finish()};
}

/// How many positions each layer's heads need for a share of their attention (LMBA; "minimum_budget").
std::vector<Figure> minimum_budget_figures(const Table& tasks) {
  const TaskValues values(tasks);
  struct Share {
    const char* name;
    const char* label;
    Style style;
  };
  const Share shares[] = {{"positions_99", "99 % of attention", {"#332288", 13, "solid", 2}},
                          {"positions_95", "95 %", {"#0072B2", 7, "solid", 2}},
                          {"positions_90", "90 %", {"#009E73", 5, "solid", 2}},
                          {"positions_80", "80 %", {"#E69F00", 9, "solid", 2}}};
  std::vector<std::string> plots;
  Canvas::Legend legend;
  for (const Share& share : shares) legend.emplace_back(share.label, share.style);
  Canvas canvas({.name = "minimum_budget",
                 .title = "How many positions hold the attention of a layer's heads",
                 .caption = mean_over(values.prompts(kAllTasks), true) + " and heads",
                 .panels = 1,
                 .panel_width = 560,
                 .panel_height = 330,
                 .legend = legend});
  for (const Share& share : shares) {
    const TaskValues::ByLayer& by_layer = values.at(share.name, kAllTasks);
    // Both layers.csv and attention.csv have the column: the same means.
    if (by_layer.empty()) return {};
    const auto drawn =
        line_with_bars(canvas.add_data(layer_points(by_layer, 1.0)), share.style.over(values.last_layer() + 1));
    plots.insert(plots.end(), drawn.begin(), drawn.end());
  }
  canvas.add_panel("", layer_lines_axes(values, "positions", "[0.8:*]") + "set logscale y 10\nplot " + joined(plots));
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace evictlab::plots
