#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/series.hpp"
#include "results/measures.hpp"
#include "results/rows.hpp"

namespace evictlab::plots {
namespace {

/// What is drawn over the distance from the prompt, a panel each where the table has it.
struct CurveQuantity {
  const char* column;
  const char* label;
};
constexpr CurveQuantity kQuantities[] = {{"kl", "live KL divergence, nats per token"},
                                         {"predicted_kl", "foretold KL divergence, nats per token"},
                                         {"output_relative_squared_error", "squared error over output, all layers"}};
constexpr std::size_t kMostPanels = 2;

struct Mean {
  double sum = 0.0;
  double count = 0.0;
};

/// By policy, then last step.
using Curves = std::map<results::PolicyKey, std::map<double, Mean>>;

Curves read_curves(const results::Table& table, const std::string& budget, const char* column) {
  Curves curves;
  for (const results::RowView row : results::RowsOf(table)) {
    const auto value = row.number(column);
    if (row.budget() != budget || !value || !(*value > 0.0)) continue;  // the axis has no place for what loses nothing
    Mean& own = curves[row.policy()][row.number("step_last").value_or(1.0)];
    own.sum += *value;
    own.count += 1.0;
  }
  return curves;
}

void draw_curves(const Curves& curves, const char* label, const std::vector<Series>& series, Canvas& canvas) {
  std::vector<std::string> plots;
  double farthest = 1.0;
  for (const Series& one : series) {
    const auto found = curves.find(one.key);
    if (found == curves.end()) continue;
    std::string points;
    for (const auto& [step, mean] : found->second) {
      points += fmt::format("{:.9g} {:.9g}\n", step, mean.sum / mean.count);
      farthest = std::max(farthest, step);
    }
    plots.push_back(
        fmt::format("{} using 1:2 with linespoints {} notitle", canvas.add_data(points), one.style.gnuplot()));
  }
  canvas.add_panel(
      "", fmt::format("unset logscale\nset grid\nset border 3\nset logscale x 2\nset logscale y 10\n"
                      "set format x '%g'\nset format y '%g'\nset xrange [0.8:{1:.9g}]\nset yrange [*:*]\n"
                      "set xlabel 'answer tokens read after the prompt, up to' offset 0,0.3 textcolor rgb '{0}'\n"
                      "set ylabel '{2}' offset 0.5,0 textcolor rgb '{0}'\nplot ",
                      kTextColor, 1.25 * farthest, label) +
              joined(plots));
}

}  // namespace

/// How losses go on with the distance from the prompt, at the middle one of the budgets ("curves").
std::vector<Figure> curve_figures(const results::Table& table) {
  if (table.rows() == 0) return {};
  const std::string budget = results::middle_budget(table);
  std::vector<std::pair<const CurveQuantity*, Curves>> panels;
  for (const CurveQuantity& quantity : kQuantities) {
    Curves curves = read_curves(table, budget, quantity.column);
    if (!curves.empty() && panels.size() < kMostPanels) panels.emplace_back(&quantity, std::move(curves));
  }
  if (panels.empty()) return {};
  std::vector<Series> series = series_of(table);
  std::erase_if(series, [&](const Series& one) {
    return std::ranges::none_of(panels, [&](const auto& panel) { return panel.second.contains(one.key); });
  });
  Canvas::Legend legend;
  for (const Series& one : series) legend.emplace_back(one.label, one.style);
  Canvas canvas({.name = "curves",
                 .title = "What is lost with the distance from the prompt",
                 .caption = fmt::format("budget {}; means over the stretch of the answer that ends there, and over the "
                                        "prompts whose answers reach it",
                                        budget),
                 .panels = static_cast<int>(panels.size()),
                 .columns = static_cast<int>(panels.size()),
                 .panel_width = 460,
                 .panel_height = 360,
                 .legend = legend});
  for (const auto& [quantity, curves] : panels) draw_curves(curves, quantity->label, series, canvas);
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace evictlab::plots
