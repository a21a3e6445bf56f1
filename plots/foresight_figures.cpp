#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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

// Steps beyond this are pooled into as many bins, each the mean of its steps.
constexpr double kMostSteps = 64;

}  // namespace

/// How long the window's choice lasts, layer by future query ("foresight").
std::vector<Figure> future_figures(const Table& table) {
  struct Column {
    const char* name;
    const char* title;
    CellMap map = {};
  };
  Column columns[] = {{"hit_rate", "In the window's top set"}, {"drift", "Not in the first query's top set"}};
  std::set<std::string> prompts;
  double last_step = 0;
  for (const RowView row : results::RowsOf(table)) last_step = std::max(last_step, row.index("step").value_or(0));
  const double pooled = std::max(1.0, std::ceil((last_step + 1) / kMostSteps));
  for (const RowView row : results::RowsOf(table)) {
    prompts.insert(row.prompt());
    for (Column& column : columns) {
      const auto value = row.number(column.name);
      if (!value) continue;
      column.map.add(std::floor(row.index("step").value_or(0) / pooled), row.index("layer").value_or(0), *value);
    }
  }
  if (columns[0].map.empty()) return {};
  const CellMap& first = columns[0].map;
  Canvas canvas({.name = "foresight",
                 .title = "How long the window's choice lasts",
                 .caption = mean_over(prompts.size(), false) + " that have the step, heads",
                 .panels = 2,
                 .columns = 2,
                 .panel_width = std::max(320, map_size(first.last_x())),
                 .panel_height = map_size(first.last_y()),
                 .color_scale_width = 160});
  const std::string label = pooled > 1 ? fmt::format("future query / {:g}", pooled) : "future query";
  for (const Column& column : columns) {
    canvas.add_panel(column.title, sequential_palette() + "set cbrange [0:1]\n" +
                                       map_panel(canvas.add_data(column.map.lines()), {label, first.last_x()},
                                                 layer_axis(first.last_y())));
  }
  canvas.add_color_scale("share of the query's top set", 0, 1, "0,0.2");
  return {canvas.finish()};
}

}  // namespace evictlab::plots
