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

using results::RowView;
using results::Table;

/// Where in the prompt each layer's kept positions lie, a map per policy, at the middle budget ("kept_positions").
std::vector<Figure> position_figures(const Table& table) {
  if (table.rows() == 0) return {};
  double bins = 1;
  for (const RowView row : results::RowsOf(table)) bins = std::max(bins, row.index("depth_bin").value_or(0) + 1);
  const std::string budget = results::middle_budget(table);
  std::map<results::PolicyKey, CellMap> maps;
  std::size_t prompts = 0;
  std::set<std::string> ids;  // of a table written earlier, which has rows of each prompt
  const bool has_means = table.find_column("prompts").has_value();
  for (const RowView row : results::RowsOf(table)) {
    if (row.budget() != budget) continue;
    const auto share = row.number("share");
    if (!share) continue;
    if (has_means) {
      prompts = std::max(prompts, static_cast<std::size_t>(row.index("prompts").value_or(0)));
    } else {
      ids.insert(row.prompt());
    }
    // Relative to an even spread over the prompt.
    maps[row.policy()].add((row.index("depth_bin").value_or(0) + 0.5) / bins, row.index("layer").value_or(0),
                           *share * bins);
  }
  std::vector<Series> series = series_of(table);
  std::erase_if(series, [&](const Series& one) { return one.is_full_cache() || !maps.contains(one.key); });
  if (series.empty()) return {};

  const double kLimit = 3;  // powers of two
  const auto shown = [kLimit](double density) {
    return density > 0 ? std::clamp(std::log2(density), -kLimit, kLimit) : -kLimit;
  };
  if (!has_means) prompts = ids.size();
  const double last_layer = maps.at(series.front().key).last_y();
  Canvas canvas({.name = "kept_positions",
                 .title = fmt::format("Where the kept positions lie, at budget {}", budget),
                 .caption = mean_over(prompts, false) + "; density relative to positions spread evenly over the prompt",
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
