#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "results/calibration.hpp"
#include "results/measures.hpp"
#include "results/rows.hpp"

namespace evictlab::plots {
namespace {

using results::RowView;

/// A measure's label, with a star when calibration chose it; of a column that is no measure, its words.
std::string measure_tic(const RowView& row) {
  std::string name = row.text("measure");
  if (const auto measure = results::measure_of(name)) {
    name = results::info(*measure).label;
  } else {
    std::ranges::replace(name, '_', ' ');
  }
  return row.text("chosen") == "yes" ? name + " *" : name;
}

/// The rows over all budgets, a measure each.
struct Calibration {
  std::string points;     // "number tau low high"
  std::string transfers;  // "number tau low high": with live on the other half of the documents
  std::string tics;
  std::optional<double> ceiling;
  std::string prompts;
  int count = 0;
  bool has_intervals = false;
};

Calibration read_calibration(const results::Table& table) {
  Calibration all;
  for (const RowView& row : results::overall_rows(table)) {
    const auto tau = row.number("tau_b");
    if (!tau) continue;
    all.points += point_with_bar(all.count, {*tau, row.number("tau_b_low"), row.number("tau_b_high")});
    all.has_intervals = all.has_intervals || row.number("tau_b_low").has_value();
    if (const auto transfer = row.number("transfer")) {
      all.transfers +=
          point_with_bar(all.count + 0.2, {*transfer, row.number("transfer_low"), row.number("transfer_high")});
    }
    all.tics += fmt::format("{}{} {}", all.count == 0 ? "" : ", ", gnuplot_tic(measure_tic(row)), all.count);
    all.ceiling = row.number("ceiling");
    all.prompts = row.text("prompts");
    ++all.count;
  }
  return all;
}

}  // namespace

/// How each of replay's measures orders policies as the outcome does, the mean over budgets, below what can be expected
/// at most ("calibration").
std::vector<Figure> calibration_figures(const results::Table& table) {
  const Calibration all = read_calibration(table);
  if (all.count == 0) return {};
  const Style measure{"#0072B2", 7, "solid", 2.0};
  const Style half{"#D55E00", 6, "solid", 2.0};
  const Style most{"#666666", 0, "-", 2.0};
  Canvas::Legend legend{{"same prompts", measure}};
  if (!all.transfers.empty()) legend.emplace_back("other documents", half);
  if (all.ceiling) legend.emplace_back("live, half against half", most);
  Canvas canvas(
      {.name = "calibration",
       .title = "How well replay orders policies",
       .caption = fmt::format("Kendall's tau-b with the order by KL of methods alone, mean over budgets, {}{}",
                              all.prompts == "1" ? std::string("one prompt") : all.prompts + " prompts",
                              all.has_intervals ? ", 95 % intervals; * maps to KL" : ""),
       .panels = 1,
       .panel_width = 110 * std::max(all.count, 5),
       .panel_height = 340,
       .below = 150,
       .legend = legend});
  std::vector<std::string> plots;
  if (all.ceiling) plots.push_back(fmt::format("{:.9g} with lines {} notitle", *all.ceiling, most.gnuplot()));
  const std::string points = canvas.add_data(all.points);
  plots.push_back(line_with_bars(points, measure).front());
  plots.push_back(fmt::format("{} using 1:2 with points {} notitle", points, measure.gnuplot()));
  if (!all.transfers.empty()) {
    const std::string transfers = canvas.add_data(all.transfers);
    plots.push_back(line_with_bars(transfers, half).front());
    plots.push_back(fmt::format("{} using 1:2 with points {} notitle", transfers, half.gnuplot()));
  }
  canvas.add_panel("", fmt::format("unset logscale\nset grid\nset border 3\nset xrange [-0.6:{:.9g}]\n"
                                   "set yrange [-1:1]\nset xtics rotate by -30 ({})\nset format y '%g'\n"
                                   "set ylabel 'tau-b' offset 0.5,0 textcolor rgb '{}'\nplot ",
                                   all.count - 0.4, all.tics, kTextColor) +
                           joined(plots));
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace evictlab::plots
