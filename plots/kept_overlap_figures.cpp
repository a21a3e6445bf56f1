#include <fmt/format.h>

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

/// How much of what two policies keep is the same, policies against policies ("kept_overlap").
std::vector<Figure> kept_overlap_figures(const Table& table) {
  if (table.rows() == 0) return {};
  // Both columns of policies, so that the last one has a label too.
  Table policies({"policy", "parameters"});
  std::set<std::string> prompts;
  for (const RowView row : results::RowsOf(table)) {
    prompts.insert(row.prompt());
    for (const results::PolicyKey& key : {row.policy(), row.other_policy()}) {
      policies.add_row({key.policy, key.parameters});
    }
  }
  std::map<results::PolicyKey, double> places;
  std::vector<std::string> names;
  for (const Series& series : series_of(policies)) {
    if (series.is_full_cache()) continue;
    places[series.key] = static_cast<double>(names.size());
    names.push_back(series.label);
  }
  CellMap map;
  for (const RowView row : results::RowsOf(table)) {
    const auto own = places.find(row.policy());
    const auto other = places.find(row.other_policy());
    const auto overlap = row.number("overlap");
    if (own == places.end() || other == places.end() || !overlap) continue;
    map.add(own->second, other->second, *overlap);
    map.add(other->second, own->second, *overlap);
  }
  if (map.empty()) return {};
  const double last = static_cast<double>(names.size()) - 1;
  for (double place = 0; place <= last; ++place) map.add(place, place, 1.0);
  const int width = name_width(names);
  Canvas canvas(
      {.name = "kept_overlap",
       .title = fmt::format("How much of what two policies keep is the same, at budget {}", RowView(table, 0).budget()),
       .caption = mean_over(prompts.size(), false) + ", layers and query heads",
       .panels = 1,
       .panel_width = map_size(last),
       .panel_height = map_size(last),
       .left = 60 + width,
       .below = 40 + width,
       .color_scale_width = 170});
  canvas.add_panel("", sequential_palette() + "set cbrange [0:1]\n" +
                           map_panel(canvas.add_data(map.lines()), {"", last, names}, {"", last, names}));
  canvas.add_color_scale("Jaccard index", 0, 1, "0,0.2");
  return {canvas.finish()};
}

}  // namespace evictlab::plots
