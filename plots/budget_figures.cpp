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

namespace evictlab::plots {
namespace {

using results::Table;

using ByLayer = std::map<double, double>;  // slots of all heads, by layer

struct Budgets {
  // By budget as requested, policy, prompt.
  std::map<std::string, std::map<PolicyKey, std::map<std::string, ByLayer>>> held;
  std::set<std::string> prompts;
};

Budgets read(const Table& table) {
  const std::size_t prompt = table.column("prompt");
  const std::size_t policy = table.column("policy");
  const std::size_t parameters = table.column("parameters");
  const std::size_t budget = table.column("budget_requested");
  const std::size_t layer = table.column("layer");
  const std::size_t slots = table.column("slots");
  Budgets budgets;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    budgets.prompts.insert(table.text(r, prompt));
    ByLayer& by_layer =
        budgets.held[table.text(r, budget)][{table.text(r, policy), table.text(r, parameters)}][table.text(r, prompt)];
    by_layer[index_at(table, r, layer).value_or(0)] += table.number(r, slots).value_or(0);
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
struct Lines {
  std::map<std::string, std::map<PolicyKey, Line>> uneven;  // by budget
  std::vector<Series> series;                               // of `uneven`
  std::size_t even = 0;
  double highest = 1;
  double last_layer = 0;
};

Lines lines_of(const Budgets& budgets, const std::vector<std::string>& requested, const std::vector<Series>& series) {
  Lines lines;
  std::set<PolicyKey> uneven;
  for (const std::string& budget : requested) {
    for (const auto& [key, by_prompt] : budgets.held.at(budget)) {
      const Line line = line_of(by_prompt);
      for (const auto& [layer, share] : line.by_layer) {
        lines.highest = std::max(lines.highest, share.high);
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

Canvas::Legend legend_of(const Lines& lines) {
  Canvas::Legend legend;
  for (const Series& one : lines.series) legend.emplace_back(one.label, one.style);
  if (lines.even > 0) {
    legend.emplace_back(fmt::format("even split ({}{} {})", lines.series.empty() ? "all " : "", lines.even,
                                    lines.even == 1 ? "policy" : "policies"),
                        even_style());
  }
  return legend;
}

void draw_panel(const std::string& budget, const Lines& lines, Canvas& canvas) {
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
      points += fmt::format("{:.9g} {:.9g} {:.9g} {:.9g}\n", layer, share.mean, share.low, share.high);
    }
    const std::vector<std::string> drawn = line_with_bars(canvas.add_data(points), one.style);
    plots.insert(plots.end(), drawn.begin(), drawn.end());
  }
  canvas.add_panel(fmt::format("budget {}", budget), commands + joined(plots));
}

/// Slots of each kept set relative to its layer's mean, for the policies that do not treat all alike.
std::optional<Figure> head_figure(const Table& table, const std::string& requested) {
  const std::size_t prompt = table.column("prompt");
  const std::size_t policy = table.column("policy");
  const std::size_t parameters = table.column("parameters");
  const std::size_t budget = table.column("budget_requested");
  const std::size_t layer = table.column("layer");
  const std::size_t head = table.column("head");
  const std::size_t slots = table.column("slots");
  // By policy, prompt and layer: the sets' slots.
  std::map<PolicyKey, std::map<std::pair<std::string, double>, std::map<double, double>>> held;
  std::set<std::string> prompts;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    if (table.text(r, budget) != requested) continue;
    prompts.insert(table.text(r, prompt));
    held[{table.text(r, policy), table.text(r, parameters)}]
        [{table.text(r, prompt), index_at(table, r, layer).value_or(0)}][index_at(table, r, head).value_or(0)] =
            table.number(r, slots).value_or(0);
  }
  std::vector<std::pair<Series, CellMap>> drawn;
  for (const Series& one : series_of(table)) {
    CellMap map;
    bool uneven = false;
    for (const auto& [place, by_head] : held[one.key]) {
      double mean = 0;
      for (const auto& [number, count] : by_head) mean += count / static_cast<double>(by_head.size());
      for (const auto& [number, count] : by_head) {
        map.add(number, place.second, mean > 0 ? count / mean : 1);
        uneven = uneven || std::abs(count - mean) > 1.0;  // more than rounding
      }
    }
    if (uneven) drawn.emplace_back(one, std::move(map));
  }
  if (drawn.empty()) return std::nullopt;
  const double kLimit = 2;  // powers of two
  const auto shown = [kLimit](double ratio) {
    return ratio > 0 ? std::clamp(std::log2(ratio), -kLimit, kLimit) : -kLimit;
  };
  const CellMap& first = drawn.front().second;
  Canvas canvas(
      {.name = "head_budgets",
       .title = fmt::format("How policies share a layer's budget among its kept sets, at budget {}", requested),
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
  const Budgets budgets = read(table);
  if (table.rows() == 0) return {};
  std::vector<std::string> requested = spread(requested_budgets(table), 4);
  const Lines lines = lines_of(budgets, requested, series_of(table));
  if (lines.series.empty()) requested = spread(requested, 1);  // all alike: one panel says it

  Canvas canvas({.name = "layer_budgets",
                 .title = "How policies share a budget among the layers",
                 .caption = mean_over(budgets.prompts.size(), true),
                 .panels = static_cast<int>(requested.size()),
                 .columns = static_cast<int>(std::min<std::size_t>(requested.size(), 2)),
                 .panel_width = 420,
                 .panel_height = 260,
                 .legend = legend_of(lines)});
  for (const std::string& budget : requested) draw_panel(budget, lines, canvas);
  canvas.add_legend();
  std::vector<Figure> figures{canvas.finish()};
  if (auto heads = head_figure(table, spread(requested_budgets(table), 1).front()))
    figures.push_back(std::move(*heads));
  return figures;
}

}  // namespace evictlab::plots
