#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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

constexpr double kDepthBins = 10;

/// Needle spans at one budget.
struct Needles {
  std::map<results::PolicyKey, CellMap> by_depth;  // x = depth bin, y = number of the length
  std::map<results::PolicyKey, CellMap> by_layer;  // x = layer, y = 0
  std::vector<double> lengths;
  std::set<std::string> prompts;
};

/// Prompt lengths of a set that is meant alike (504, 510, 512): each to the nearest power of two.
double nominal_length(double length) { return std::exp2(std::round(std::log2(std::max(length, 1.0)))); }

/// A depth's cell, of kDepthBins.
double depth_cell(double depth) {
  return (std::clamp(std::floor(depth * kDepthBins), 0.0, kDepthBins - 1) + 0.5) / kDepthBins;
}

MapAxis length_axis(const std::vector<double>& lengths) {
  std::vector<std::string> names;
  for (const double length : lengths) names.push_back(fmt::format("≈ {:g}", length));
  return {"", static_cast<double>(names.size()) - 1, names};
}

double nominal_length(const RowView& row) { return nominal_length(row.number("prompt_length").value_or(1)); }

/// Which row of a map a prompt length has.
double length_row(const std::vector<double>& lengths, const RowView& row) {
  return static_cast<double>(std::ranges::lower_bound(lengths, nominal_length(row)) - lengths.begin());
}

/// The nominal lengths of some rows, rising.
std::vector<double> lengths_of(const std::vector<RowView>& rows) {
  std::set<double> lengths;
  for (const RowView& row : rows) lengths.insert(nominal_length(row));
  return {lengths.begin(), lengths.end()};
}

Needles read_needles(const Table& table, const std::string& budget) {
  std::vector<RowView> rows;
  for (const RowView row : results::RowsOf(table)) {
    if (row.text("span") == "needle" && row.budget() == budget && row.number("retained")) rows.push_back(row);
  }
  Needles needles;
  needles.lengths = lengths_of(rows);
  for (const RowView& row : rows) {
    const double share = row.number("retained").value_or(0);
    needles.prompts.insert(row.prompt());
    if (!row.over_layers()) {
      needles.by_layer[row.policy()].add(row.index("layer").value_or(0), 0, share);
      continue;
    }
    needles.by_depth[row.policy()].add(depth_cell(row.number("depth").value_or(0)), length_row(needles.lengths, row),
                                       share);
  }
  return needles;
}

std::vector<Series> drawn_series(const Table& table, const std::map<results::PolicyKey, CellMap>& maps) {
  std::vector<Series> series = series_of(table);
  std::erase_if(series, [&](const Series& one) { return one.is_full_cache() || !maps.contains(one.key); });
  return series;
}

Figure by_depth(const Needles& needles, const std::vector<Series>& series, const std::string& budget) {
  const MapAxis lengths = length_axis(needles.lengths);
  Canvas canvas({.name = "needles",
                 .title = fmt::format("Needle positions kept, by depth and prompt length, at budget {}", budget),
                 .caption = mean_over(needles.prompts.size(), false) +
                            ", layers and kept sets, with the slots each policy holds; depth 0 = the beginning",
                 .panels = static_cast<int>(series.size()),
                 .columns = static_cast<int>(std::min<std::size_t>(series.size(), 3)),
                 .panel_width = 340,
                 .panel_height = std::max(90, 42 * static_cast<int>(needles.lengths.size())),
                 .color_scale_width = 150});
  for (const Series& one : series) {
    canvas.add_panel(one.label, sequential_palette() + "set cbrange [0:1]\n" +
                                    map_panel(canvas.add_data(needles.by_depth.at(one.key).lines()),
                                              "relative depth of the needle", 0.5 / kDepthBins, lengths));
  }
  canvas.add_color_scale("share kept", 0, 1, "0,0.2");
  return canvas.finish();
}

Figure by_layer(const Needles& needles, const std::vector<Series>& series, const std::string& budget) {
  CellMap map;
  std::vector<std::string> names;
  double last_layer = 0;
  for (auto one = series.rbegin(); one != series.rend(); ++one) {
    const CellMap& row = needles.by_layer.at(one->key);
    last_layer = std::max(last_layer, row.last_x());
    row.each([&](double layer, double, double share) { map.add(layer, static_cast<double>(names.size()), share); });
    names.push_back(one->label);
  }
  Canvas canvas(
      {.name = "needles_by_layer",
       .title = fmt::format("Needle positions kept, by layer, at budget {}", budget),
       .caption = mean_over(needles.prompts.size(), false) + " and kept sets, with the slots each policy holds",
       .panels = 1,
       .panel_width = map_size(last_layer) + 80,
       .panel_height = std::max(160, 30 * static_cast<int>(names.size())),
       .left = 60 + name_width(names),
       .color_scale_width = 150});
  canvas.add_panel("", sequential_palette() + "set cbrange [0:1]\n" +
                           map_panel(canvas.add_data(map.lines()), layer_axis(last_layer),
                                     {"", static_cast<double>(names.size()) - 1, names}));
  canvas.add_color_scale("share kept", 0, 1, "0,0.2");
  return canvas.finish();
}

}  // namespace

/// Needle positions kept, at the middle budget, by depth and prompt length ("needles"), and by layer
/// ("needles_by_layer"), per policy.
std::vector<Figure> needle_figures(const Table& spans) {
  if (spans.rows() == 0) return {};
  const std::string budget = results::middle_budget(spans);
  const Needles needles = read_needles(spans, budget);
  const std::vector<Series> series = drawn_series(spans, needles.by_depth);
  if (series.empty()) return {};
  return {by_depth(needles, series, budget), by_layer(needles, series, budget)};
}

/// Accuracy by depth and prompt length at the middle budget, beside the share of the needle's positions that replay
/// says is kept, per policy ("needle_accuracy").
std::vector<Figure> needle_accuracy_figures(const Table& table) {
  if (table.rows() == 0) return {};
  const std::string budget = results::middle_budget(table);
  std::vector<RowView> rows;
  std::set<std::string> prompts;
  for (const RowView row : results::RowsOf(table)) {
    if (row.budget() != budget) continue;
    rows.push_back(row);
    prompts.insert(row.prompt());
  }
  const std::vector<double> lengths = lengths_of(rows);
  struct Maps {
    CellMap accuracy;
    CellMap kept;
  };
  std::map<results::PolicyKey, Maps> maps;
  for (const RowView& row : rows) {
    Maps& own = maps[row.policy()];
    const double x = depth_cell(row.number("depth").value_or(0));
    const double y = length_row(lengths, row);
    own.accuracy.add(x, y, row.number("accuracy").value_or(0));
    own.kept.add(x, y, row.number("retained").value_or(0));
  }
  std::vector<Series> series = series_of(table);
  std::erase_if(series, [&](const Series& one) { return !maps.contains(one.key); });
  if (series.empty()) return {};
  Canvas canvas({.name = "needle_accuracy",
                 .title = fmt::format("Answers right, beside needle positions kept, at budget {}", budget),
                 .caption = mean_over(prompts.size(), false) +
                            "; right: every answer token after the first; kept: replay, mean over layers and kept sets",
                 .panels = 2 * static_cast<int>(series.size()),
                 .columns = series.size() > 2 ? 4 : 2,
                 .panel_width = 300,
                 .panel_height = std::max(90, 42 * static_cast<int>(lengths.size())),
                 .color_scale_width = 150});
  const MapAxis axis = length_axis(lengths);
  for (const Series& one : series) {
    for (const bool kept : {false, true}) {
      const CellMap& map = kept ? maps.at(one.key).kept : maps.at(one.key).accuracy;
      canvas.add_panel(
          one.label + (kept ? ": kept" : ": right"),
          sequential_palette() + "set cbrange [0:1]\n" +
              map_panel(canvas.add_data(map.lines()), "relative depth of the needle", 0.5 / kDepthBins, axis));
    }
  }
  canvas.add_color_scale("share", 0, 1, "0,0.2");
  return {canvas.finish()};
}

}  // namespace evictlab::plots
