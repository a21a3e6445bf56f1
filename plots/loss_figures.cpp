#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "plots/canvas.hpp"
#include "plots/figures.hpp"
#include "plots/loss_points.hpp"
#include "plots/series.hpp"

namespace evictlab::plots {
namespace {

using results::Measure;
using results::Role;
using results::Table;

using Point = ReplayLosses::Point;

/// A loss that has panels of its own: over all prompts, and by task.
struct DrawnLoss {
  Measure measure;
  const char* title;
  const char* by_task;  // name of the figure
};
constexpr DrawnLoss kLosses[] = {{Measure::kRetainedMass, "Attention mass lost", "loss_by_task_mass"},
                                 {Measure::kRelativeLoss, "Attention output lost", "loss_by_task_output"}};

// Losses below this are drawn as none: what rounding leaves.
constexpr double kNoLoss = 1e-6;

// One panel's content and extent.
struct Panel {
  std::string title;
  Measure measure;
  std::vector<std::pair<const Series*, std::vector<Point>>> lines;
};

Panel make_panel(const ReplayLosses& replay, const std::vector<Series>& series, Measure measure, std::string title,
                 const std::set<std::string>& prompts) {
  Panel panel{std::move(title), measure, {}};
  for (const Series& one : series) {
    std::vector<Point> points = replay.points(one.key, measure, prompts);
    std::erase_if(points, [](const Point& point) { return !(point.loss.mean >= kNoLoss); });
    if (!points.empty()) panel.lines.emplace_back(&one, std::move(points));
  }
  return panel;
}

struct Range {
  double low = 1e300;
  double high = 0;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
};

// Where a policy can be: between the first ceiling and the first control of the legend that lose anything.
struct ShadedRange {
  const std::pair<const Series*, std::vector<Point>>* ceiling = nullptr;
  const std::pair<const Series*, std::vector<Point>>* control = nullptr;
  bool drawn() const { return ceiling != nullptr && control != nullptr; }
};

ShadedRange shaded_range(const Panel& panel) {
  ShadedRange range;
  for (const auto& line : panel.lines) {
    if (line.first->role == Role::kCeiling && range.ceiling == nullptr) range.ceiling = &line;
    if (line.first->role != Role::kControl || range.control != nullptr || range.ceiling == nullptr) continue;
    // A control that holds the same slots at every budget (protect-only) bounds no area.
    if (line.second.size() > 1 || range.ceiling->second.size() == 1) range.control = &line;
  }
  return range;
}

/// "; grey: between oracle and random", or nothing where no panel is shaded.
std::string shade_caption(const std::vector<Panel>& panels) {
  for (const Panel& panel : panels) {
    const ShadedRange range = shaded_range(panel);
    if (!range.drawn()) continue;
    return fmt::format("; grey: between {} and {}", range.ceiling->first->label, range.control->first->label);
  }
  return {};
}

std::string draw_shade(const Panel& panel, Canvas& canvas) {
  const ShadedRange range = shaded_range(panel);
  if (!range.drawn()) return {};
  std::string outline;
  const auto add = [&outline](const Point& point) {
    outline += fmt::format("{:.9g} {:.9g}\n", point.slots, point.loss.mean);
  };
  std::ranges::for_each(range.ceiling->second, add);
  std::for_each(range.control->second.rbegin(), range.control->second.rend(), add);
  return fmt::format("{} using 1:2 with filledcurves closed fc rgb '#F0F0F0' notitle", canvas.add_data(outline));
}

void draw_losses(const Panel& panel, const Range& slots, const Range& losses, Canvas& canvas) {
  std::string commands = fmt::format(
      "set xlabel 'slots held per layer and kv head' offset 0,0.3 textcolor rgb '{0}'\n"
      "set ylabel {1} offset 0.5,0 textcolor rgb '{0}'\n"
      "set logscale x 2\nset logscale y 10\nset format x '%.0f'\nset format y '%g'\nset mytics default\n"
      "set xrange [{2:.9g}:{3:.9g}]\nset yrange [{4:.9g}:{5:.9g}]\n{6}plot ",
      kTextColor, gnuplot_label(loss_label(panel.measure)), slots.low / 1.12, slots.high * 1.12, losses.low / 1.25,
      losses.high * 1.25, logarithmic_tics("y", losses.low / 1.25, losses.high * 1.25));
  std::vector<std::string> plots;
  if (const std::string shade = draw_shade(panel, canvas); !shade.empty()) plots.push_back(shade);
  for (const auto& [series, points] : panel.lines) {
    std::string lines;
    for (const Point& point : points) {
      lines += point_with_bar(point.slots, point.loss, losses.low / 1.25);
    }
    const std::vector<std::string> drawn = line_with_bars(canvas.add_data(lines), series->style);
    plots.insert(plots.end(), drawn.begin(), drawn.end());
  }
  canvas.add_panel(panel.title, commands + joined(plots));
}

// None when no panel has a line. `shared`: panels of one measure have one scale, so that they can be compared;
// otherwise each has its own.
std::vector<Figure> draw_figure(std::string name, std::string title, std::string caption,
                                const std::vector<Panel>& panels, bool shared) {
  std::vector<Panel> drawn;
  std::ranges::copy_if(panels, std::back_inserter(drawn), [](const Panel& panel) { return !panel.lines.empty(); });
  if (drawn.empty()) return {};
  Range slots;
  std::vector<Range> losses(drawn.size());
  Canvas::Legend legend;
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    for (const auto& [series, points] : drawn[i].lines) {
      const auto in_legend = [label = series->label](const auto& entry) { return entry.first == label; };
      if (std::ranges::none_of(legend, in_legend)) legend.emplace_back(series->label, series->style);
      for (const Point& point : points) {
        slots.add(point.slots);
        losses[shared ? 0 : i].add(std::max(point.loss.lower(), point.loss.mean / 10));  // bars may reach 0
        losses[shared ? 0 : i].add(point.loss.upper());
      }
    }
  }
  const int columns = static_cast<int>(std::min<std::size_t>(drawn.size(), drawn.size() == 4 ? 2 : 3));
  Canvas canvas({.name = std::move(name),
                 .title = std::move(title),
                 .caption = std::move(caption),
                 .panels = static_cast<int>(drawn.size()),
                 .columns = columns,
                 .panel_width = columns == 1   ? 640
                                : columns == 2 ? 500
                                               : 380,
                 .panel_height = columns == 3 ? 300 : 400,
                 .legend = legend});
  for (std::size_t i = 0; i < drawn.size(); ++i) draw_losses(drawn[i], slots, losses[shared ? 0 : i], canvas);
  canvas.add_legend();
  return {canvas.finish()};
}

}  // namespace

/// Losses by budget over all prompts ("loss"): attention mass lost and, where measured, relative output loss against
/// the slots held, with 95 % bootstrap intervals, the range between a control and a ceiling shaded. A point is drawn
/// only if the policy was measured on every prompt at that budget.
std::vector<Figure> loss_figures(const Table& table) {
  const ReplayLosses replay(table);
  const std::vector<Series> series = series_of(table);
  std::vector<Panel> panels;
  for (const DrawnLoss& loss : kLosses) {
    if (!replay.measured(loss.measure)) continue;
    panels.push_back(make_panel(replay, series, loss.measure, loss.title, replay.prompts()));
  }
  return draw_figure("loss", "What eviction loses, by budget",
                     mean_over(replay.prompts().size(), true) + shade_caption(panels), panels, false);
}

/// The same losses, a panel per task, where there are several ("loss_by_task_mass", "loss_by_task_output").
std::vector<Figure> loss_by_task_figures(const Table& table) {
  const ReplayLosses replay(table);
  if (replay.prompts_by_task().size() < 2) return {};
  const std::vector<Series> series = series_of(table);
  const bool several =
      std::ranges::any_of(replay.prompts_by_task(), [](const auto& task) { return task.second.size() > 1; });
  std::vector<Figure> figures;
  for (const DrawnLoss& loss : kLosses) {
    if (!replay.measured(loss.measure)) continue;
    std::vector<Panel> panels;
    for (const auto& [task, prompts] : replay.prompts_by_task()) {
      panels.push_back(make_panel(replay, series, loss.measure, task_label(task, prompts.size()), prompts));
    }
    const auto drawn =
        draw_figure(loss.by_task, fmt::format("{} by task and budget", loss.title),
                    fmt::format("mean over the n prompts of each task{}", several ? ", 95 % bootstrap intervals" : "") +
                        shade_caption(panels),
                    panels, true);
    figures.insert(figures.end(), drawn.begin(), drawn.end());
  }
  return figures;
}

/// What the oracle retains more with the same counts, by budget ("regret").
std::vector<Figure> regret_figures(const Table& table) {
  const ReplayLosses replay(table);
  if (!replay.measured(Measure::kRegret)) return {};
  const std::vector<Series> series = series_of(table);
  return draw_figure("regret", "What a better choice of positions would retain more",
                     mean_over(replay.prompts().size(), true),
                     {make_panel(replay, series, Measure::kRegret, "", replay.prompts())}, false);
}

}  // namespace evictlab::plots
