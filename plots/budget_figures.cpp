#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "plots/series.hpp"
#include "results/rows.hpp"

namespace evictlab::plots {
namespace {

using results::PolicyKey;
using results::RowView;
using results::Table;

using ByLayer = std::map<double, double>;  // slots of all heads, by layer

struct Budgets {
  // By budget as requested, policy, prompt.
  std::map<std::string, std::map<PolicyKey, std::map<std::string, ByLayer>>> held;
  std::set<std::string> prompts;
};

Budgets read_budgets(const Table& table) {
  Budgets budgets;
  for (const RowView row : results::RowsOf(table)) {
    const std::string prompt = row.prompt();
    budgets.prompts.insert(prompt);
    ByLayer& by_layer = budgets.held[row.budget()][row.policy()][prompt];
    by_layer[row.index("layer").value_or(0)] += row.number("slots").value_or(0);
  }
  return budgets;
}

// A policy's layers relative to their mean: free of units, and 1 for an even split.
struct Line {
  bool even = true;
  std::map<double, results::Interval> by_layer;
};

Line line_of(const std::map<std::string, ByLayer>& by_prompt) {
  std::map<double, std::map<std::string, double>> shares;
  Line line;
  for (const auto& [prompt, by_layer] : by_prompt) {
    double mean = 0;
    for (const auto& [layer, slots] : by_layer) mean += slots / static_cast<double>(by_layer.size());
    for (const auto& [layer, slots] : by_layer) {
      const double share = mean > 0 ? slots / mean : 1;
      shares[layer][prompt] = share;
      line.even = line.even && std::abs(share - 1) < 1e-9;
    }
  }
  for (const auto& [layer, share_by_prompt] : shares) line.by_layer[layer] = estimate(share_by_prompt);
  return line;
}

// Lines of the policies that do not split evenly; those that do would lie on top of each other and are counted.
struct UnevenLines {
  std::map<std::string, std::map<PolicyKey, Line>> uneven;  // by budget
  std::vector<Series> series;                               // of `uneven`
  std::size_t even = 0;
  double highest = 1;
  double last_layer = 0;
};

UnevenLines lines_of(const Budgets& budgets, const std::vector<std::string>& requested,
                     const std::vector<Series>& series) {
  UnevenLines lines;
  std::set<PolicyKey> uneven;
  for (const std::string& budget : requested) {
    for (const auto& [key, by_prompt] : budgets.held.at(budget)) {
      const Line line = line_of(by_prompt);
      for (const auto& [layer, share] : line.by_layer) {
        lines.highest = std::max(lines.highest, share.upper());
        lines.last_layer = std::max(lines.last_layer, layer);
      }
      if (!line.even) uneven.insert(key);
      lines.uneven[budget][key] = line;
    }
  }
  for (const Series& one : series) {
    if (uneven.contains(one.key)) {
      lines.series.push_back(one);
    } else {
      ++lines.even;
    }
  }
  return lines;
}

Style even_style() { return {kQuietColor, 0, "-", 2}; }

Canvas::Legend legend_of(const UnevenLines& lines) {
  Canvas::Legend legend;
  for (const Series& one : lines.series) legend.emplace_back(one.label, one.style);
  if (lines.even > 0) {
    legend.emplace_back(fmt::format("even split ({}{} {})", lines.series.empty() ? "all " : "", lines.even,
                                    lines.even == 1 ? "policy" : "policies"),
                        even_style());
  }
  return legend;
}

void draw_budgets(const std::string& budget, const UnevenLines& lines, Canvas& canvas) {
  std::string commands = fmt::format(
      "set xlabel 'layer' offset 0,0.3 textcolor rgb '{0}'\n"
      "set ylabel 'slots relative to an even split' offset 0.5,0 textcolor rgb '{0}'\n"
      "set xrange [-0.4:{1:.9g}]\nset yrange [0:{2:.9g}]\nset xtics 0,{3}\nset format x '%.0f'\nplot ",
      kTextColor, lines.last_layer + 0.4, std::max(1.2 * lines.highest, 2.0), tic_step(lines.last_layer));
  std::vector<std::string> plots;
  if (lines.even > 0) plots.push_back(fmt::format("1 with lines {} notitle", even_style().gnuplot()));
  for (const Series& one : lines.series) {
    const auto line = lines.uneven.at(budget).find(one.key);
    if (line == lines.uneven.at(budget).end()) continue;
    std::string points;
    for (const auto& [layer, share] : line->second.by_layer) {
      points += point_with_bar(layer, share);
    }
    const std::vector<std::string> drawn =
        line_with_bars(canvas.add_data(points), one.style.over(lines.last_layer + 1));
    plots.insert(plots.end(), drawn.begin(), drawn.end());
  }
  canvas.add_panel(fmt::format("budget {}", budget), commands + joined(plots));
}

/// The slots of a layer's kept sets, by prompt and layer.
using SetsByPlace = std::map<std::pair<std::string, double>, std::map<double, double>>;

/// Slots relative to the layer's mean, kept sets (x) by layers (y); nothing where no layer's sets differ.
std::optional<CellMap> head_map(const SetsByPlace& places) {
  CellMap map;
  bool uneven = false;
  for (const auto& [place, slots_by_set] : places) {
    double mean = 0;
    for (const auto& [set, slots] : slots_by_set) mean += slots / static_cast<double>(slots_by_set.size());
    for (const auto& [set, slots] : slots_by_set) {
      map.add(set, place.second, mean > 0 ? slots / mean : 1);
      uneven = uneven || std::abs(slots - mean) > 1.0;  // more than rounding
    }
  }
  return uneven ? std::optional(map) : std::nullopt;
}

/// What each kept set gets of its layer's slots, for the policies that do not treat all alike.
std::optional<Figure> head_figure(const Table& table, const std::string& budget) {
  std::map<PolicyKey, SetsByPlace> held;
  std::set<std::string> prompts;
  for (const RowView row : results::RowsOf(table)) {
    if (row.budget() != budget) continue;
    const std::string prompt = row.prompt();
    prompts.insert(prompt);
    held[row.policy()][{prompt, row.index("layer").value_or(0)}][row.index("head").value_or(0)] =
        row.number("slots").value_or(0);
  }
  std::vector<std::pair<Series, CellMap>> drawn;
  for (const Series& one : series_of(table)) {
    if (const auto map = head_map(held[one.key])) drawn.emplace_back(one, *map);
  }
  if (drawn.empty()) return std::nullopt;
  const double kLimit = 2;  // powers of two
  const auto shown = [kLimit](double ratio) {
    return ratio > 0 ? std::clamp(std::log2(ratio), -kLimit, kLimit) : -kLimit;
  };
  const CellMap& first = drawn.front().second;
  Canvas canvas({.name = "head_budgets",
                 .title = fmt::format("How policies share a layer's budget among its kept sets, at budget {}", budget),
                 .caption = mean_over(prompts.size(), false) + "; relative to an even split inside the layer",
                 .panels = static_cast<int>(drawn.size()),
                 .columns = static_cast<int>(std::min<std::size_t>(drawn.size(), 3)),
                 .panel_width = std::max(map_size(first.last_x()), 280),
                 .panel_height = map_size(first.last_y()),
                 .color_scale_width = 150});
  for (const auto& [one, map] : drawn) {
    canvas.add_panel(one.label, diverging_palette() + fmt::format("set cbrange [{}:{}]\n", -kLimit, kLimit) +
                                    map_panel(canvas.add_data(map.lines(shown)),
                                              {"kept set (kv or query head)", map.last_x()}, layer_axis(map.last_y())));
  }
  canvas.add_color_scale("times an even split", -kLimit, kLimit, "('≤ 1/4' -2, '1/2' -1, '1' 0, '2' 1, '≥ 4' 2)");
  return canvas.finish();
}

}  // namespace

/// Each layer's share of the budget, relative to an even split, per policy ("layer_budgets"); what each head gets under
/// the policies that do not treat all heads alike ("head_budgets").
std::vector<Figure> budget_figures(const Table& table) {
  if (table.rows() == 0) return {};
  const Budgets budgets = read_budgets(table);
  std::vector<std::string> requested = results::spread(results::requested_budgets(table), 4);
  const UnevenLines lines = lines_of(budgets, requested, series_of(table));
  if (lines.series.empty()) requested = results::spread(requested, 1);  // all alike: one panel says it

  Canvas canvas({.name = "layer_budgets",
                 .title = "How policies share a budget among the layers",
                 .caption = mean_over(budgets.prompts.size(), true),
                 .panels = static_cast<int>(requested.size()),
                 .columns = static_cast<int>(std::min<std::size_t>(requested.size(), 2)),
                 .panel_width = 420,
                 .panel_height = 260,
                 .legend = legend_of(lines)});
  for (const std::string& budget : requested) draw_budgets(budget, lines, canvas);
  canvas.add_legend();
  std::vector<Figure> figures{canvas.finish()};
  if (auto heads = head_figure(table, results::middle_budget(table))) figures.push_back(std::move(*heads));
  return figures;
}

}  // namespace evictlab::plots
