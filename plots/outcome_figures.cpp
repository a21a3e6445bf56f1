#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/series.hpp"
#include "results/rows.hpp"
#include "results/task_values.hpp"

namespace evictlab::plots {
namespace {

using results::PolicyKey;
using results::Table;

struct OutcomeQuantity {
  const char* name;
  const char* title;
  const char* label;
  bool logarithmic;
};
constexpr std::array kOutcomeQuantities = {
    OutcomeQuantity{"kl", "Divergence from the full cache", "KL divergence, nats per token", true},
    OutcomeQuantity{"accuracy_after_first", "Answers right after their first token", "accuracy", false}};

struct OutcomePoint {
  double slots = 0;
  results::Interval value;
};

/// Of each policy, by budget as requested: the slots it holds, and quantities with their intervals.
struct Outcomes {
  using Quantities = std::map<std::string, results::Interval>;
  std::map<PolicyKey, std::map<std::string, double>> slots;
  std::map<PolicyKey, std::map<std::string, Quantities>> values;
  std::size_t prompts = 0;
};

Outcomes read_outcomes(const Table& table) {
  Outcomes outcomes;
  for (const results::RowView row : results::RowsOf(table)) {
    const auto mean = row.number("mean");
    if (row.text("task") != results::kAllTasks || row.text("turn") != "1" || !mean) continue;
    const std::string quantity = row.text("quantity");
    if (quantity == "slots_held") {
      outcomes.slots[row.policy()][row.budget()] = *mean;
      continue;
    }
    outcomes.values[row.policy()][row.budget()][quantity] = {*mean, row.number("low"), row.number("high")};
    outcomes.prompts = std::max(outcomes.prompts, static_cast<std::size_t>(row.number("prompts").value_or(0)));
  }
  return outcomes;
}

std::vector<OutcomePoint> outcome_points(const Outcomes& outcomes, const PolicyKey& key,
                                         const OutcomeQuantity& quantity) {
  std::vector<OutcomePoint> points;
  const auto budgets = outcomes.values.find(key);
  const auto slots = outcomes.slots.find(key);
  if (budgets == outcomes.values.end() || slots == outcomes.slots.end()) return points;
  for (const auto& [budget, values] : budgets->second) {
    const auto value = values.find(quantity.name);
    const auto held = slots->second.find(budget);
    if (value == values.end() || held == slots->second.end()) continue;
    if (quantity.logarithmic && !(value->second.mean > 0)) continue;
    points.push_back({held->second, value->second});
  }
  std::ranges::sort(points, {}, &OutcomePoint::slots);
  // A policy that ignores the budget holds the same at every one of them.
  const auto same = [](const OutcomePoint& a, const OutcomePoint& b) { return a.slots == b.slots; };
  points.erase(std::unique(points.begin(), points.end(), same), points.end());
  return points;
}

/// Ceilings are drawn as a line across: the only one that runs live is the full cache, whatever the budget.
bool is_reference(const Series& series) { return series.role == results::Role::kCeiling; }

void draw_outcomes(const OutcomeQuantity& quantity,
                   const std::vector<std::pair<Series, std::vector<OutcomePoint>>>& lines, Canvas& canvas) {
  double lowest = 1e300;
  double fewest = 1e300;
  double most = 0;
  for (const auto& [series, points] : lines) {
    if (is_reference(series)) continue;
    for (const OutcomePoint& point : points) {
      lowest = std::min(lowest, std::max(point.value.lower(), point.value.mean / 10));
      fewest = std::min(fewest, point.slots);
      most = std::max(most, point.slots);
    }
  }
  std::string commands = fmt::format(
      "unset logscale\nset grid\nset border 3\nset logscale x 2\nset format x '%.0f'\nset format y '%g'\n"
      "set xlabel 'slots held per layer and kv head' offset 0,0.3 textcolor rgb '{0}'\n"
      "set ylabel {1} offset 0.5,0 textcolor rgb '{0}'\nset xrange [{4:.9g}:{5:.9g}]\n{2}set yrange [{3}]\nplot ",
      kTextColor, gnuplot_label(quantity.label), quantity.logarithmic ? "set logscale y 10\n" : "",
      quantity.logarithmic ? fmt::format("{:.9g}:*", lowest / 1.25) : std::string("0:1"), fewest / 1.15, most * 1.15);
  std::vector<std::string> plots;
  for (const auto& [series, points] : lines) {
    if (is_reference(series)) {
      plots.push_back(fmt::format("{:.9g} with lines {} notitle", points.front().value.mean, series.style.gnuplot()));
      continue;
    }
    std::string text;
    for (const OutcomePoint& point : points) {
      text += quantity.logarithmic ? point_with_bar(point.slots, point.value, lowest / 1.25)
                                   : point_with_bar(point.slots, point.value);
    }
    const auto drawn = line_with_bars(canvas.add_data(text), series.style);
    plots.insert(plots.end(), drawn.begin(), drawn.end());
  }
  canvas.add_panel(quantity.title, commands + joined(plots));
}

}  // namespace

/// Divergence from the full cache and accuracy against the slots held, over all prompts ("outcomes").
std::vector<Figure> outcome_figures(const Table& table) {
  const Outcomes outcomes = read_outcomes(table);
  std::vector<std::pair<const OutcomeQuantity*, std::vector<std::pair<Series, std::vector<OutcomePoint>>>>> panels;
  Canvas::Legend legend;
  for (const OutcomeQuantity& quantity : kOutcomeQuantities) {
    std::vector<std::pair<Series, std::vector<OutcomePoint>>> lines;
    for (const Series& series : series_of(table)) {
      std::vector<OutcomePoint> points = outcome_points(outcomes, series.key, quantity);
      if (points.empty()) continue;
      const bool known = std::ranges::any_of(legend, [&](const auto& entry) { return entry.first == series.label; });
      if (!known) legend.emplace_back(series.label, series.style);
      lines.emplace_back(series, std::move(points));
    }
    if (!lines.empty()) panels.emplace_back(&quantity, std::move(lines));
  }
  if (panels.empty()) return {};
  Canvas canvas({.name = "outcomes",
                 .title = "What the model does with its cache compacted",
                 .caption = mean_over(outcomes.prompts, true),
                 .panels = static_cast<int>(panels.size()),
                 .columns = static_cast<int>(panels.size()),
                 .panel_width = 480,
                 .panel_height = 400,
                 .legend = legend});
  for (const auto& [quantity, lines] : panels) draw_outcomes(*quantity, lines, canvas);
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace evictlab::plots
