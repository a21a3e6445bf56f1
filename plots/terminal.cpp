#include "plots/terminal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "plots/canvas.hpp"
#include "plots/gnuplot.hpp"
#include "plots/loss_points.hpp"
#include "plots/series.hpp"
#include "results/task_values.hpp"

namespace evictlab::plots {
namespace {

constexpr int kLetters = 26;  // gnuplot's marks on a text terminal
constexpr int kLines = 26;

/// A line with its letter: data block and plot command.
class TextLines {
 public:
  void add(const std::string& points, const std::string& label) {
    const std::size_t number = plots_.size();
    data_ += fmt::format("$d{} << EOD\n{}EOD\n", number, points);
    plots_.push_back(fmt::format("$d{} using 1:2 with linespoints lt 0 pt {} title {}", number, number % kLetters + 1,
                                 gnuplot_label(label)));
  }
  bool empty() const { return plots_.empty(); }
  std::size_t size() const { return plots_.size(); }
  std::string script(const std::string& axes) const {
    std::string text = data_ + axes + "plot ";
    return text + joined(plots_);
  }

 private:
  std::string data_;
  std::vector<std::string> plots_;
};

std::string titled(const std::string& title, const std::string& caption) {
  return fmt::format("set title {}\nset key outside right top samplen 1\n",
                     gnuplot_label(fmt::format("{} ({})", title, caption)));
}

std::string loss_plot(const results::Table& table, int columns) {
  const ReplayLosses replay(table);
  TextLines lines;
  for (const Series& series : series_of(table)) {
    std::string points;
    for (const auto& [slots, loss] : replay.points(series.key, results::Measure::kRetainedMass, replay.prompts())) {
      if (loss.mean > 0) points += fmt::format("{:.9g} {:.9g}\n", slots, loss.mean);
    }
    if (!points.empty()) lines.add(points, series.label);
  }
  if (lines.empty()) return {};
  return draw_text(lines.script(titled("Attention mass lost", mean_over(replay.prompts().size(), false)) +
                                "set logscale x 2\nset logscale y 10\nset format x '%.0f'\nset format y '%g'\n"
                                "set xlabel 'slots held per layer and kv head'\nset offsets graph 0.05, graph 0.05\n"),
                   columns, std::max(kLines, static_cast<int>(lines.size()) + 6));
}

std::string layer_plot(const results::Table& table, int columns) {
  struct Share {
    const char* quantity;
    const char* label;
  };
  constexpr Share kShares[] = {{"preference_share", "CAKE"}, {"retained_share", "DynamicKV"}};
  const results::TaskValues values(table);
  TextLines lines;
  for (const Share& share : kShares) {
    std::string points;
    for (const auto& [layer, value] : values.at(share.quantity, results::kAllTasks)) {
      points += fmt::format("{:.9g} {:.9g}\n", layer, value.mean);
    }
    if (!points.empty()) lines.add(points, share.label);
  }
  if (lines.empty()) return {};
  return draw_text(
      lines.script(
          titled("Each layer's share of the budget", mean_over(values.prompts(results::kAllTasks), false)) +
          fmt::format("set xlabel 'layer'\nset xrange [-0.5:{:.9g}]\nset yrange [0:*]\n", values.last_layer() + 0.5)),
      columns, kLines);
}

}  // namespace

std::string terminal_plots(const ResultTables& tables, int columns) {
  std::string text;
  if (const results::Table* const replay = find_table(tables, "replay")) text += loss_plot(*replay, columns);
  if (const results::Table* const tasks = find_table(tables, "tasks")) text += layer_plot(*tasks, columns);
  return text;
}

}  // namespace evictlab::plots
