#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "plots/series.hpp"

namespace evictlab::plots {

using results::Table;

/// Which positions the window's queries of the first prompt attend to, a picture per layer ("attention_maps").
std::vector<Figure> attention_map_figures(const Table& table) {
  const std::size_t prompt = table.column("prompt");
  const std::size_t length = table.column("prompt_length");
  const std::size_t layer = table.column("layer");
  const std::size_t query = table.column("query");
  const std::size_t bin = table.column("depth_bin");
  const std::size_t attention = table.column("attention");
  if (table.rows() == 0) return {};

  // One prompt: a mean over prompts would blur what it is that each of them looks for.
  const std::string shown = table.text(0, prompt);
  double bins = 1;
  std::map<double, double> rows;  // query -> row of the picture
  for (std::size_t r = 0; r < table.rows(); ++r) {
    if (table.text(r, prompt) != shown) continue;
    bins = std::max(bins, index_at(table, r, bin).value_or(0) + 1);
    rows[index_at(table, r, query).value_or(0)] = 0;
  }
  for (double row = 0; auto& [position, place] : rows) place = row++;
  const double kLeast = -3;  // powers of ten
  std::map<std::string, CellMap> maps;
  std::vector<std::string> layers;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto value = table.number(r, attention);
    if (table.text(r, prompt) != shown || !value) continue;
    const std::string name = table.text(r, layer);
    if (!maps.contains(name)) layers.push_back(name);
    maps[name].add((index_at(table, r, bin).value_or(0) + 0.5) / bins, rows.at(index_at(table, r, query).value_or(0)),
                   *value > 0 ? std::max(std::log10(*value), kLeast) : kLeast);
  }
  if (maps.empty()) return {};
  const std::vector<std::string> drawn = spread(layers, 12);
  const double last_row = static_cast<double>(rows.size()) - 1;
  Canvas canvas(
      {.name = "attention_maps",
       .title =
           fmt::format("Where the last queries of one prompt look ({}, {} positions)", shown, table.text(0, length)),
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
