#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "results/rows.hpp"
#include "results/task_values.hpp"

namespace evictlab::plots {
namespace {

using results::Table;

struct DifferenceQuantity {
  const char* name;
  const char* title;
  const char* label;
};
constexpr DifferenceQuantity kDifferenceQuantities[] = {
    {"dispersion_normalized", "Dispersion (CAKE's H, normalised)", "A − B (of the maximum)"},
    {"shift_normalized", "Shift (CAKE's V per head)", "A − B (summed variance)"},
    {"preference_relative", "CAKE's preference", "A − B (times an even split)"},
    {"retained_relative", "DynamicKV's retained share", "A − B (times an even split)"},
    {"window_hit_rate", "Foreseen by the window (SnapKV)", "A − B (share of top set)"}};

constexpr const char* kDistance = "preference_distance";

struct Differences {
  std::map<std::string, std::string> points;  // by quantity, a line a layer of A
  std::vector<results::Interval> distances;   // by task
  std::vector<std::string> tasks;
  double last_layer = 0;
  std::string prompts;
  bool intervals = false;
};

Differences read_differences(const Table& table) {
  Differences all;
  for (const results::RowView row : results::RowsOf(table)) {
    const auto value = row.number("difference");
    if (!value) continue;
    const results::Interval difference{*value, row.number("low"), row.number("high")};
    const std::string task = row.text("task");
    const std::string quantity = row.text("quantity");
    const std::string a = row.text("prompts_a");
    const std::string b = row.text("prompts_b");
    if (quantity == kDistance) {
      all.tasks.push_back(fmt::format("{} (n = {})", task, a == b ? a : a + ", " + b));
      all.distances.push_back(difference);
      if (task == results::kAllTasks) {
        all.intervals = difference.low.has_value();
        all.prompts = row.text("paired") == "yes" ? fmt::format("the {} prompts that both have, in pairs", a)
                                                  : fmt::format("{} prompts of A, {} others of B", a, b);
      }
    } else if (const auto x = row.index("layer_a"); x && task == results::kAllTasks) {
      all.points[quantity] += point_with_bar(*x, difference);
      all.last_layer = std::max(all.last_layer, *x);
    }
  }
  return all;
}

std::string axes(const std::string& x_label, const std::string& y_label) {
  return fmt::format(
      "unset logscale\nset grid\nset border 3\nset xlabel {1} offset 0,0.3 textcolor rgb '{0}'\n"
      "set ylabel {2} offset 0.5,0 textcolor rgb '{0}'\nset format x '%g'\nset format y '%g'\n",
      kTextColor, gnuplot_label(x_label), gnuplot_label(y_label));
}

}  // namespace

/// A - B by layer, and by task how far the preferences over layers lie apart ("differences").
std::vector<Figure> difference_figures(const Table& table) {
  const Differences all = read_differences(table);
  std::vector<DifferenceQuantity> drawn;
  for (const DifferenceQuantity& quantity : kDifferenceQuantities) {
    if (all.points.contains(quantity.name)) drawn.push_back(quantity);
  }
  if (drawn.empty()) return {};
  const Style style{"#0072B2", 7, "solid", 2};
  Canvas canvas({.name = "differences",
                 .title = "What differs between the recordings A and B",
                 .caption = fmt::format("over {}{}", all.prompts, all.intervals ? "; 95 % bootstrap intervals" : ""),
                 .panels = static_cast<int>(drawn.size()) + (all.tasks.empty() ? 0 : 1),
                 .columns = 3,
                 .panel_width = 360,
                 .panel_height = 260,
                 .left = std::max(104, 30 + name_width(all.tasks))});
  for (const DifferenceQuantity& quantity : drawn) {
    std::vector<std::string> plots = {fmt::format("0 with lines lc rgb '{}' lw 1 notitle", kQuietColor)};
    const auto lines = line_with_bars(canvas.add_data(all.points.at(quantity.name)), style.over(all.last_layer + 1));
    plots.insert(plots.end(), lines.begin(), lines.end());
    canvas.add_panel(quantity.title, axes("layer of A", quantity.label) +
                                         fmt::format("set xrange [-0.4:{:.9g}]\nset yrange [*:*]\nset xtics 0,{}\n"
                                                     "set ytics auto\nplot ",
                                                     all.last_layer + 0.4, tic_step(all.last_layer)) +
                                         joined(plots));
  }
  if (!all.tasks.empty()) {
    std::string points;
    std::string tics;
    for (std::size_t t = 0; t < all.tasks.size(); ++t) {
      points += point_with_bar(static_cast<double>(t), all.distances[t]);
      tics += fmt::format("{}{} {}", t == 0 ? "" : ", ", gnuplot_tic(all.tasks[t]), t);
    }
    canvas.add_panel(
        "Distance of the preferences over layers",
        axes("total variation (0: the same)", "") +
            fmt::format("set xrange [0:*]\nset yrange [{0}:-0.6]\nset xtics 0.2\nset ytics ({1})\n"
                        "plot {3} using 2:1:3:4 with xerrorbars {2} notitle, {3} using 2:1 with points {2} notitle\n",
                        static_cast<double>(all.tasks.size()) - 0.4, tics, style.gnuplot(), canvas.add_data(points)));
  }
  return {canvas.finish()};
}

}  // namespace evictlab::plots
