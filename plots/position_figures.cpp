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

/// Where in the prompt each layer's kept positions lie, a map per policy, at the middle budget ("kept_positions").
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
