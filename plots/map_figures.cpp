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

std::vector<Figure> attention_figures(const Table& table) {
  struct Column {
    const char* name;
    const char* title;
  };
  constexpr Column kColumns[] = {{"normalized_entropy", "Normalized entropy"},
                                 {"sink_mass", "Mass on the first positions"},
                                 {"recent_mass", "Mass on recent positions"}};
  const std::size_t prompt = table.column("prompt");
  const std::size_t task = table.column("task");
  const std::size_t layer = table.column("layer");
  const std::size_t head = table.column("head");
  if (table.rows() == 0) return {};

  std::map<std::string, CellMap> by_column;
  std::map<std::string, CellMap> entropy_by_task;
  std::map<std::string, std::set<std::string>> prompts_by_task;
  std::set<std::string> prompts;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const double x = index_at(table, r, head).value_or(0);
    const double y = index_at(table, r, layer).value_or(0);
    for (const Column& column : kColumns) {
      if (const auto value = table.number(r, table.column(column.name))) by_column[column.name].add(x, y, *value);
    }
    if (const auto value = table.number(r, table.column(kColumns[0].name))) {
      entropy_by_task[table.text(r, task)].add(x, y, *value);
    }
    prompts.insert(table.text(r, prompt));
    prompts_by_task[table.text(r, task)].insert(table.text(r, prompt));
  }
  const auto draw_maps = [&](std::string name, std::string title, std::string caption,
                             const std::vector<std::pair<std::string, const CellMap*>>& maps) {
    const CellMap& first = *maps.front().second;
    Canvas canvas({.name = std::move(name),
                   .title = std::move(title),
                   .caption = std::move(caption),
                   .panels = static_cast<int>(maps.size()),
                   .columns = static_cast<int>(std::min<std::size_t>(maps.size(), maps.size() == 4 ? 2 : 3)),
                   .panel_width = std::max(map_size(first.last_x()), 280),
                   .panel_height = map_size(first.last_y()),
                   .color_scale_width = 130});
    for (const auto& [panel_title, map] : maps) {
      canvas.add_panel(panel_title, sequential_palette() + "set cbrange [0:1]\n" +
                                        map_panel(canvas.add_data(map->lines()), head_axis(map->last_x()),
                                                  layer_axis(map->last_y())));
    }
    canvas.add_color_scale("", 0, 1, "0,0.2");
    return canvas.finish();
  };

  std::vector<Figure> figures;
  std::vector<std::pair<std::string, const CellMap*>> maps;
  for (const Column& column : kColumns) {
    if (by_column.contains(column.name)) maps.emplace_back(column.title, &by_column.at(column.name));
  }
  if (maps.empty()) return {};
  figures.push_back(
      draw_maps("attention", "How each layer and head attends",
                mean_over(prompts.size(), false) + "; entropy: 0 = one position, 1 = all positions evenly", maps));
  if (prompts_by_task.size() > 1) {
    maps.clear();
    for (const auto& [name, map] : entropy_by_task) {
      maps.emplace_back(fmt::format("{} (n = {})", name.empty() ? "no task" : name, prompts_by_task.at(name).size()),
                        &map);
    }
    figures.push_back(draw_maps("attention_by_task", "Normalized attention entropy by task",
                                "0 = one position, 1 = all positions evenly", maps));
  }
  return figures;
}

std::vector<Figure> picture_figures(const Table& table) {
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

std::vector<Figure> position_figures(const Table& table) {
  const std::size_t prompt = table.column("prompt");
  const std::size_t policy = table.column("policy");
  const std::size_t parameters = table.column("parameters");
  const std::size_t budget = table.column("budget_requested");
  const std::size_t layer = table.column("layer");
  const std::size_t bin = table.column("depth_bin");
  const std::size_t share = table.column("share");
  if (table.rows() == 0) return {};

  double bins = 1;
  for (std::size_t r = 0; r < table.rows(); ++r) bins = std::max(bins, index_at(table, r, bin).value_or(0) + 1);
  const std::string requested = spread(requested_budgets(table), 1).front();
  std::map<PolicyKey, CellMap> maps;
  std::set<std::string> prompts;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    if (table.text(r, budget) != requested) continue;
    const auto value = table.number(r, share);
    if (!value) continue;
    prompts.insert(table.text(r, prompt));
    // Relative to an even spread over the prompt.
    maps[{table.text(r, policy), table.text(r, parameters)}].add((index_at(table, r, bin).value_or(0) + 0.5) / bins,
                                                                 index_at(table, r, layer).value_or(0), *value * bins);
  }
  std::vector<Series> series = series_of(table);
  std::erase_if(series, [&](const Series& one) { return one.key.policy == "full" || !maps.contains(one.key); });
  if (series.empty()) return {};

  const double kLimit = 3;  // powers of two
  const auto shown = [kLimit](double density) {
    return density > 0 ? std::clamp(std::log2(density), -kLimit, kLimit) : -kLimit;
  };
  const double last_layer = maps.at(series.front().key).last_y();
  Canvas canvas(
      {.name = "kept_positions",
       .title = fmt::format("Where the kept positions lie, at budget {}", requested),
       .caption = mean_over(prompts.size(), false) + "; density relative to positions spread evenly over the prompt",
       .panels = static_cast<int>(series.size()),
       .columns = static_cast<int>(std::min<std::size_t>(series.size(), series.size() == 4 ? 2 : 3)),
       .panel_width = 340,
       .panel_height = map_size(last_layer),
       .color_scale_width = 160});
  for (const Series& one : series) {
    canvas.add_panel(one.label, diverging_palette() + fmt::format("set cbrange [{}:{}]\n", -kLimit, kLimit) +
                                    map_panel(canvas.add_data(maps.at(one.key).lines(shown)),
                                              "relative depth in the prompt", 0.5 / bins, layer_axis(last_layer)));
  }
  canvas.add_color_scale("times an even spread", -kLimit, kLimit,
                         "('≤ 1/8' -3, '1/4' -2, '1/2' -1, '1' 0, '2' 1, '4' 2, '≥ 8' 3)");
  return {canvas.finish()};
}

}  // namespace evictlab::plots
