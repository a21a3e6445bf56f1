#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "plots/series.hpp"
#include "results/rows.hpp"

namespace evictlab::plots {
namespace {

using results::Table;

struct HeadQuantity {
  const char* column;
  const char* title;
};
constexpr HeadQuantity kEntropy{"normalized_entropy", "Normalized entropy"};
constexpr HeadQuantity kHeadQuantities[] = {
    kEntropy, {"sink_mass", "Mass on the first positions"}, {"recent_mass", "Mass on recent positions"}};

/// A quantity over heads (x) and layers (y), the mean over prompts; and which prompts those are.
struct HeadMap {
  CellMap cells;
  std::set<std::string> prompts;
};

/// Maps of one quantity by task; all under "" where tasks are not distinguished.
std::map<std::string, HeadMap> head_maps(const Table& table, const HeadQuantity& quantity, bool by_task) {
  std::map<std::string, HeadMap> maps;
  for (const results::RowView row : results::RowsOf(table)) {
    HeadMap& map = maps[by_task ? row.text("task") : std::string()];
    map.prompts.insert(row.prompt());
    const double x = row.index("head").value_or(0);
    const double y = row.index("layer").value_or(0);
    if (const auto value = row.number(quantity.column)) map.cells.add(x, y, *value);
  }
  return maps;
}

Figure draw_head_maps(std::string name, std::string title, std::string caption,
                      const std::vector<std::pair<std::string, CellMap>>& maps) {
  const CellMap& first = maps.front().second;
  Canvas canvas({.name = std::move(name),
                 .title = std::move(title),
                 .caption = std::move(caption),
                 .panels = static_cast<int>(maps.size()),
                 .columns = static_cast<int>(std::min<std::size_t>(maps.size(), maps.size() == 4 ? 2 : 3)),
                 .panel_width = std::max(map_size(first.last_x()), 280),
                 .panel_height = map_size(first.last_y()),
                 .color_scale_width = 130});
  for (const auto& [panel_title, map] : maps) {
    canvas.add_panel(panel_title,
                     sequential_palette() + "set cbrange [0:1]\n" +
                         map_panel(canvas.add_data(map.lines()), head_axis(map.last_x()), layer_axis(map.last_y())));
  }
  canvas.add_color_scale("", 0, 1, "0,0.2");
  return canvas.finish();
}

}  // namespace

/// Layer x head maps of normalized entropy, sink mass and recent mass, averaged over prompts ("attention").
std::vector<Figure> attention_figures(const Table& table) {
  std::vector<std::pair<std::string, CellMap>> maps;
  std::size_t prompts = 0;
  for (const HeadQuantity& quantity : kHeadQuantities) {
    for (auto& [task, map] : head_maps(table, quantity, false)) {
      prompts = map.prompts.size();
      if (!map.cells.empty()) maps.emplace_back(quantity.title, std::move(map.cells));
    }
  }
  if (maps.empty()) return {};
  return {draw_head_maps("attention", "How each layer and head attends",
                         mean_over(prompts, false) + "; entropy: 0 = one position, 1 = all positions evenly", maps)};
}

/// The map of normalized entropy per task, where there are several ("attention_by_task").
std::vector<Figure> attention_by_task_figures(const Table& table) {
  std::map<std::string, HeadMap> by_task = head_maps(table, kEntropy, true);
  if (by_task.size() < 2) return {};
  std::vector<std::pair<std::string, CellMap>> maps;
  for (auto& [task, map] : by_task) {
    if (map.cells.empty()) continue;
    maps.emplace_back(task_label(task, map.prompts.size()), std::move(map.cells));
  }
  if (maps.empty()) return {};
  return {draw_head_maps("attention_by_task", "Normalized attention entropy by task",
                         "0 = one position, 1 = all positions evenly", maps)};
}

}  // namespace evictlab::plots
