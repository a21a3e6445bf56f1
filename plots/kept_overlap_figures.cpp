#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/maps.hpp"
#include "plots/series.hpp"

namespace evictlab::plots {

using results::Table;

/// How much of what two policies keep is the same, policies against policies ("kept_overlap").
std::vector<Figure> kept_overlap_figures(const Table& table) {
  if (table.rows() == 0) return {};
  // Both columns of policies, so that the last one has a label too.
  Table policies({"policy", "parameters"});
  std::set<std::string> prompts;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    prompts.insert(table.text(r, table.column("prompt")));
    policies.add_row({table.text(r, table.column("policy")), table.text(r, table.column("parameters"))});
    policies.add_row({table.text(r, table.column("other_policy")), table.text(r, table.column("other_parameters"))});
  }
  std::map<PolicyKey, double> places;
  std::vector<std::string> names;
  for (const Series& series : series_of(policies)) {
    if (series.key.policy == "full") continue;
    places[series.key] = static_cast<double>(names.size());
    names.push_back(series.label);
  }
  CellMap map;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto own = places.find({table.text(r, table.column("policy")), table.text(r, table.column("parameters"))});
    const auto other =
        places.find({table.text(r, table.column("other_policy")), table.text(r, table.column("other_parameters"))});
    const auto overlap = table.number(r, table.column("overlap"));
    if (own == places.end() || other == places.end() || !overlap) continue;
    map.add(own->second, other->second, *overlap);
    map.add(other->second, own->second, *overlap);
  }
  if (map.empty()) return {};
  const double last = static_cast<double>(names.size()) - 1;
  for (double place = 0; place <= last; ++place) map.add(place, place, 1.0);
  const int width = name_width(names);
  Canvas canvas({.name = "kept_overlap",
                 .title = fmt::format("How much of what two policies keep is the same, at budget {}",
                                      table.text(0, table.column("budget_requested"))),
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
