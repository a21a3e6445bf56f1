#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "plots/series.hpp"
#include "results/rows.hpp"

namespace evictlab::plots {

using results::Table;

/// Which layers look at the same positions: the overlap of their top sets ("layer_overlap").
std::vector<Figure> layer_overlap_figures(const Table& table) {
  CellMap map;
  std::set<std::string> prompts;
  for (const results::RowView row : results::RowsOf(table)) {
    const auto overlap = row.number("overlap");
    if (!overlap) continue;
    map.add(row.index("other_layer").value_or(0), row.index("layer").value_or(0), *overlap);
    prompts.insert(row.prompt());
  }
  if (map.empty() || map.last_y() < 1) return {};
  Canvas canvas({.name = "layer_overlap",
                 .title = "Which layers look at the same positions",
                 .caption = mean_over(prompts.size(), false) + "; Jaccard index of the layers' top sets",
                 .panels = 1,
                 .panel_width = map_size(map.last_x()) + 40,
                 .panel_height = map_size(map.last_y()) + 40,
                 .color_scale_width = 150});
  canvas.add_panel("", sequential_palette() + "set cbrange [0:1]\n" +
                           map_panel(canvas.add_data(map.lines()), layer_axis(map.last_x()), layer_axis(map.last_y())));
  canvas.add_color_scale("overlap", 0, 1, "0,0.2");
  return {canvas.finish()};
}

}  // namespace evictlab::plots
