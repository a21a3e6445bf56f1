#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "results/rows.hpp"

namespace evictlab::plots {

using results::RowView;
using results::Table;

/// Which positions the window's queries of the first prompt attend to, a picture per layer ("attention_maps").
std::vector<Figure> attention_map_figures(const Table& table) {
  if (table.rows() == 0) return {};
  // One prompt: a mean over prompts would blur which positions the queries of each attend to.
  const RowView first(table, 0);
  const std::string shown = first.prompt();
  double bins = 1;
  std::map<double, double> rows;  // query -> row of the picture
  for (const RowView row : results::RowsOf(table)) {
    if (row.prompt() != shown) continue;
    bins = std::max(bins, row.index("depth_bin").value_or(0) + 1);
    rows[row.index("query").value_or(0)] = 0;
  }
  for (double place = 0; auto& [query, row] : rows) row = place++;
  const double kLeast = -3;  // powers of ten
  std::map<std::string, CellMap> maps;
  std::vector<std::string> layers;
  for (const RowView row : results::RowsOf(table)) {
    const auto attention = row.number("attention");
    if (row.prompt() != shown || !attention) continue;
    const std::string layer = row.text("layer");
    if (!maps.contains(layer)) layers.push_back(layer);
    maps[layer].add((row.index("depth_bin").value_or(0) + 0.5) / bins, rows.at(row.index("query").value_or(0)),
                    *attention > 0 ? std::max(std::log10(*attention), kLeast) : kLeast);
  }
  if (maps.empty()) return {};
  const std::vector<std::string> drawn = results::spread(layers, 12);
  const double last_row = static_cast<double>(rows.size()) - 1;
  Canvas canvas(
      {.name = "attention_maps",
       .title = fmt::format("Where the last queries of one prompt look ({}, {} positions)", shown,
                            first.text("prompt_length")),
       .caption = fmt::format("mean over heads, the largest in every cell; queries from position {:.0f} (bottom) "
                              "to the last (top)",
                              rows.begin()->first),
       .panels = static_cast<int>(drawn.size()),
       .columns = drawn.size() > 4 ? 3 : 2,
       .panel_width = 380,
       .panel_height = 160,
       .left = 60,
       .color_scale_width = 170});
  for (const std::string& name : drawn) {
    canvas.add_panel("layer " + name,
                     sequential_palette() + fmt::format("set cbrange [{}:0]\n", kLeast) +
                         map_panel(canvas.add_data(maps.at(name).lines()), "relative depth in the prompt", 0.5 / bins,
                                   {"", last_row, std::vector<std::string>(rows.size())}));
  }
  canvas.add_color_scale("attention", kLeast, 0, "('≤ 0.001' -3, '0.01' -2, '0.1' -1, '1' 0)");
  return {canvas.finish()};
}

}  // namespace evictlab::plots
