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

using results::Table;

/// How well each policy's scorer foresees the future, by layer ("scorers").
std::vector<Figure> scorer_figures(const Table& table) {
  if (table.rows() == 0) return {};
  struct Column {
    const char* name;
    const char* title;
    CellMap map = {};
  };
  Column columns[] = {{"recall", "Recall of the future's top set"}, {"spearman", "Rank correlation (Spearman)"}};
  const std::vector<Series> series = series_of(table);
  std::map<results::PolicyKey, double> places;
  std::vector<std::string> names;
  for (auto one = series.rbegin(); one != series.rend(); ++one) {  // the first on top
    places[one->key] = static_cast<double>(names.size());
    names.push_back(one->label);
  }
  std::set<std::string> prompts;
  for (const results::RowView row : results::RowsOf(table)) {
    prompts.insert(row.prompt());
    const double place = places.at(row.policy());
    for (Column& column : columns) {
      if (const auto value = row.number(column.name)) column.map.add(row.index("layer").value_or(0), place, *value);
    }
  }
  const double last_layer = columns[0].map.last_x();
  Canvas canvas({.name = "scorers",
                 .title = "How well scorers foresee what the future attends to",
                 .caption = mean_over(prompts.size(), false) + " and kept sets; 0 = chance for the correlation",
                 .panels = 2,
                 .columns = 2,
                 .panel_width = map_size(last_layer) + 40,
                 .panel_height = std::max(160, 30 * static_cast<int>(names.size())),
                 .left = 60 + name_width(names),
                 .color_scale_width = 150});
  // One scale for both, up to the best there is.
  const double best = std::max(columns[0].map.highest(), columns[1].map.highest());
  const double top = std::ceil(std::clamp(best, 0.1, 1.0) * 10) / 10;
  for (const Column& column : columns) {
    canvas.add_panel(
        column.title,
        sequential_palette() + fmt::format("set cbrange [0:{:.9g}]\n", top) +
            map_panel(canvas.add_data(column.map.lines([](double value) { return std::clamp(value, 0.0, 1.0); })),
                      layer_axis(last_layer), {"", static_cast<double>(names.size()) - 1, names}));
  }
  canvas.add_color_scale("(below 0 as 0)", 0, top, "0,0.1");
  return {canvas.finish()};
}

}  // namespace evictlab::plots
