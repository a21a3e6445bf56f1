#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/series.hpp"

namespace evictlab::plots {
namespace {

using results::Table;

struct Measure {
  const char* column;
  const char* label;
  bool complement;  // 1 - it is drawn, a loss as the others
};
constexpr std::array kDrawn = {Measure{"retained_mass", "attention mass lost", true},
                               Measure{"keptmax_bound", "kept-max bound", false},
                               Measure{"relative_loss", "relative output loss", false}};

std::string column_text(const Table& table, std::size_t row, const char* column) {
  return table.text(row, table.column(column));
}

}  // namespace

std::vector<Figure> calibration_figures(const Table& table) {
  std::string points;
  std::string halves;
  std::string tics;
  std::optional<double> ceiling;
  std::string prompts;
  int count = 0;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto number = [&](const char* column) { return table.number(r, table.column(column)); };
    if (column_text(table, r, "budget_requested") != "all" || !number("tau_b")) continue;
    const double tau = *number("tau_b");
    points += fmt::format("{} {:.9g} {:.9g} {:.9g}\n", count, tau, number("tau_b_low").value_or(tau),
                          number("tau_b_high").value_or(tau));
    if (const auto half = number("tau_b_second_half")) halves += fmt::format("{} {:.9g}\n", count + 0.2, *half);
    std::string name = column_text(table, r, "measure");
    std::ranges::replace(name, '_', ' ');
    if (column_text(table, r, "chosen") == "yes") name += " *";
    tics += fmt::format("{}{} {}", tics.empty() ? "" : ", ", gnuplot_string(name), count);
    ceiling = number("ceiling");
    prompts = column_text(table, r, "prompts");
    ++count;
  }
  if (count == 0) return {};
  const Style measure{"#0072B2", 7, "solid", 2.0};
  const Style half{"#D55E00", 6, "solid", 2.0};
  const Style most{"#666666", 0, "-", 2.0};
  Canvas::Legend legend{{"all prompts", measure}};
  if (!halves.empty()) legend.emplace_back("second half", half);
  if (ceiling) legend.emplace_back("live, half against half", most);
  Canvas canvas({.name = "calibration",
                 .title = "How well replay orders policies",
                 .caption = fmt::format("Kendall's tau-b with the order by KL, mean over budgets, {} prompts, 95 % "
                                        "intervals; * chosen on the first half",
                                        prompts),
                 .panels = 1,
                 .panel_width = 110 * std::max(count, 5),
                 .panel_height = 340,
                 .below = 150,
                 .legend = legend});
  std::vector<std::string> plots;
  if (ceiling) plots.push_back(fmt::format("{:.9g} with lines {} notitle", *ceiling, most.gnuplot()));
  const std::string data = canvas.add_data(points);
  plots.push_back(fmt::format("{} using 1:2:3:4 with yerrorbars {} notitle", data, measure.gnuplot()));
  if (!halves.empty()) {
    plots.push_back(fmt::format("{} using 1:2 with points {} notitle", canvas.add_data(halves), half.gnuplot()));
  }
  canvas.add_panel("", fmt::format("unset logscale\nset grid\nset border 3\nset xrange [-0.6:{:.9g}]\n"
                                   "set yrange [-1:1]\nset xtics rotate by -30 ({})\nset format y '%g'\n"
                                   "set ylabel 'tau-b' offset 0.5,0 textcolor rgb '{}'\nplot ",
                                   count - 0.4, tics, kTextColor) +
                           joined(plots));
  canvas.add_legend();
  return {canvas.finish()};
}

std::vector<Figure> prediction_figures(const Table& table) {
  if (table.rows() == 0) return {};
  struct Points {
    std::map<PolicyKey, std::string> lines;  // "x y low high", a budget each
    double lowest = 1e300;                   // of x
    double highest = 0;
  };
  std::map<std::string, Points> by_measure;
  std::set<std::string> budgets;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto number = [&](const char* column) { return table.number(r, table.column(column)); };
    const auto measure = std::ranges::find_if(
        kDrawn, [&](const Measure& one) { return column_text(table, r, "measure") == one.column; });
    // Neither axis has a place for what loses nothing.
    if (measure == kDrawn.end() || !number("predicted") || !number("kl") || !(*number("kl") > 0)) continue;
    const double predicted = measure->complement ? 1 - *number("predicted") : *number("predicted");
    if (!(predicted > 0)) continue;
    Points& own = by_measure[measure->column];
    own.lowest = std::min(own.lowest, predicted);
    own.highest = std::max(own.highest, predicted);
    const double low = std::max(number("kl_low").value_or(*number("kl")), *number("kl") / 10);
    own.lines[{column_text(table, r, "policy"), column_text(table, r, "parameters")}] += fmt::format(
        "{:.9g} {:.9g} {:.9g} {:.9g}\n", predicted, *number("kl"), low, number("kl_high").value_or(*number("kl")));
    budgets.insert(column_text(table, r, "budget_requested"));
  }
  if (by_measure.empty()) return {};
  const std::vector<Series> series = series_of(table);
  Canvas::Legend legend;
  for (const Series& one : series) legend.emplace_back(one.label, one.style);
  Canvas canvas(
      {.name = "predictions",
       .title = "What replay predicts, and what became of the model",
       .caption = fmt::format("a point per policy and budget ({} budgets); bars: 95 % bootstrap intervals of the "
                              "divergence over prompts",
                              budgets.size()),
       .panels = static_cast<int>(by_measure.size()),
       .columns = static_cast<int>(by_measure.size()),
       .panel_width = 400,
       .panel_height = 360,
       .legend = legend});
  for (const Measure& measure : kDrawn) {
    const auto own = by_measure.find(measure.column);
    if (own == by_measure.end()) continue;
    std::vector<std::string> plots;
    for (const Series& one : series) {
      const auto lines = own->second.lines.find(one.key);
      if (lines == own->second.lines.end()) continue;
      const auto drawn = line_with_bars(canvas.add_data(lines->second), one.style);
      plots.insert(plots.end(), drawn.begin(), drawn.end());
    }
    canvas.add_panel(
        "",
        fmt::format("unset logscale\nset grid\nset border 3\nset logscale xy 10\nset format x '%g'\n"
                    "set format y '%g'\nset xrange [{2:.9g}:{3:.9g}]\nset yrange [*:*]\n{4}"
                    "set xlabel {1} offset 0,0.3 textcolor rgb '{0}'\n"
                    "set ylabel 'KL divergence, nats per token' offset 0.5,0 textcolor rgb '{0}'\nplot ",
                    kTextColor, gnuplot_string(measure.label), own->second.lowest / 1.15, own->second.highest * 1.15,
                    logarithmic_tics("x", own->second.lowest / 1.15, own->second.highest * 1.15)) +
            joined(plots));
  }
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace evictlab::plots
