#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/loss_points.hpp"
#include "plots/series.hpp"
#include "results/measures.hpp"
#include "results/rows.hpp"

namespace evictlab::plots {
namespace {

using results::Measure;

// The measures that are drawn, a panel each.
constexpr Measure kPredictors[] = {Measure::kRetainedMass, Measure::kKeptMaxBound, Measure::kRelativeLoss};

/// What one measure predicts.
struct Predicted {
  std::map<results::PolicyKey, std::string> lines;  // "x y low high", a budget each
  double lowest = 1e300;                            // of x
  double highest = 0;
};

struct Predictions {
  std::map<Measure, Predicted> by_measure;
  std::set<std::string> budgets;
  bool has_intervals = false;
};

Predictions read_predictions(const results::Table& table) {
  Predictions all;
  for (const results::RowView row : results::RowsOf(table)) {
    const auto measure = results::measure_of(row.text("measure"));
    const auto value = row.number("predicted");
    const auto kl = row.number("kl");
    if (!measure || std::ranges::find(kPredictors, *measure) == std::end(kPredictors) || !value) continue;
    const double predicted = results::amount_lost(*measure, *value);
    // Neither axis has a place for what loses nothing.
    if (!(predicted > 0) || !(kl.value_or(0) > 0)) continue;
    Predicted& own = all.by_measure[*measure];
    own.lowest = std::min(own.lowest, predicted);
    own.highest = std::max(own.highest, predicted);
    own.lines[row.policy()] += point_with_bar(predicted, {*kl, row.number("kl_low"), row.number("kl_high")}, *kl / 10);
    all.has_intervals = all.has_intervals || row.number("kl_low").has_value();
    all.budgets.insert(row.budget());
  }
  return all;
}

void draw_predictions(Measure measure, const Predicted& predicted, const std::vector<Series>& series, Canvas& canvas) {
  std::vector<std::string> plots;
  for (const Series& one : series) {
    const auto lines = predicted.lines.find(one.key);
    if (lines == predicted.lines.end()) continue;
    const auto drawn = line_with_bars(canvas.add_data(lines->second), one.style);
    plots.insert(plots.end(), drawn.begin(), drawn.end());
  }
  const double low = predicted.lowest / 1.15;
  const double high = predicted.highest * 1.15;
  canvas.add_panel(
      "", fmt::format("unset logscale\nset grid\nset border 3\nset logscale xy 10\nset format x '%g'\n"
                      "set format y '%g'\nset xrange [{2:.9g}:{3:.9g}]\nset yrange [*:*]\n{4}"
                      "set xlabel {1} offset 0,0.3 textcolor rgb '{0}'\n"
                      "set ylabel 'KL divergence, nats per token' offset 0.5,0 textcolor rgb '{0}'\nplot ",
                      kTextColor, gnuplot_label(loss_label(measure)), low, high, logarithmic_tics("x", low, high)) +
              joined(plots));
}

}  // namespace

/// What replay predicts against the divergence that came of it, policies at all budgets ("predictions").
std::vector<Figure> prediction_figures(const results::Table& table) {
  const Predictions all = read_predictions(table);
  if (all.by_measure.empty()) return {};
  const std::vector<Series> series = series_of(table);
  Canvas::Legend legend;
  for (const Series& one : series) legend.emplace_back(one.label, one.style);
  Canvas canvas({.name = "predictions",
                 .title = "What replay predicts, and what became of the model",
                 .caption = fmt::format(
                     "a point per policy and budget ({} budgets){}", all.budgets.size(),
                     all.has_intervals ? "; bars: 95 % bootstrap intervals of the divergence over prompts" : ""),
                 .panels = static_cast<int>(all.by_measure.size()),
                 .columns = static_cast<int>(all.by_measure.size()),
                 .panel_width = 400,
                 .panel_height = 360,
                 .legend = legend});
  for (const auto& [measure, predicted] : all.by_measure) draw_predictions(measure, predicted, series, canvas);
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace evictlab::plots
