#include "plots/canvas.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace evictlab::plots {
namespace {

// Pixels.
constexpr int kTop = 92;  // title and caption
constexpr int kPanelTitle = 34;
constexpr int kRowGap = 24;  // sets a panel's title apart from the x label of the panel above
constexpr int kMargin = 24;
constexpr int kLegendLine = 27;
constexpr int kLetter = 11;  // an average letter of the legend's font, on the wide side

}  // namespace

std::string point_with_bar(double x, const results::Interval& value, double least) {
  const auto end = [least](const std::optional<double>& at) {
    return at ? fmt::format("{:.9g}", std::max(*at, least)) : std::string("NaN");  // gnuplot leaves the bar out
  };
  return fmt::format("{:.9g} {:.9g} {} {}\n", x, std::max(value.mean, least), end(value.low), end(value.high));
}

std::vector<std::string> line_with_bars(const std::string& data, const Style& style) {
  return {fmt::format("{} using 1:2:3:4 with yerrorbars lc rgb '{}' pt 0 ps 0 lw 1 notitle", data, style.color),
          fmt::format("{} using 1:2 with linespoints {} notitle", data, style.gnuplot())};
}

std::string joined(const std::vector<std::string>& plots) {
  std::string text;
  for (const std::string& plot : plots) text += (text.empty() ? "" : ", \\\n") + plot;
  return text + "\n";
}

std::string logarithmic_tics(std::string_view axis, double low, double high) {
  if (high / low >= 100) return fmt::format("set {}tics norotate auto\n", axis);
  const std::vector<double> steps =
      high / low < 10 ? std::vector{1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0} : std::vector{1.0, 2.0, 5.0};
  std::string places;
  for (double decade = std::pow(10, std::floor(std::log10(low))); decade <= high; decade *= 10) {
    for (const double step : steps) {
      if (step * decade >= low && step * decade <= high) {
        places += fmt::format("{}{:.6g}", places.empty() ? "" : ", ", step * decade);
      }
    }
  }
  return fmt::format("set {}tics norotate ({})\n", axis, places);
}

int tic_step(double last) {
  int step = 1;
  while (last / step > 9) step *= 2;
  return step;
}

Canvas::Canvas(Layout layout) : layout_(std::move(layout)) {
  // Their lengths decide about the width.
  layout_.title = label_text(layout_.title, kLongestLabel);
  layout_.caption = label_text(layout_.caption, kLongestLabel);
  for (auto& [label, style] : layout_.legend) label = label_text(label, kLongestLabel);
  constexpr int kMostPanels = 60;
  if (layout_.panels > kMostPanels) {
    throw PlotError("figure {}: {} panels are too many to draw (at most {})", layout_.name, layout_.panels,
                    kMostPanels);
  }
}

int Canvas::right() const {
  std::size_t longest = 0;
  for (const auto& [label, style] : layout_.legend) longest = std::max(longest, label.size());
  return layout_.legend.empty() ? layout_.color_scale_width : 80 + kLetter * static_cast<int>(longest);
}

int Canvas::panels_width() const { return layout_.columns * (layout_.left + layout_.panel_width) + kMargin; }

int Canvas::width() const {
  // The lines above the panels must fit as well.
  const std::size_t letters = std::max(layout_.title.size(), layout_.caption.size());
  return std::max(panels_width() + right(), 2 * kMargin + kLetter * static_cast<int>(letters));
}

int Canvas::row_height() const { return kPanelTitle + layout_.panel_height + layout_.below + kRowGap; }

int Canvas::height() const {
  const int legend = kPanelTitle + kLegendLine * static_cast<int>(layout_.legend.size()) + kMargin;
  return kTop + std::max(rows() * row_height() - kRowGap, legend);
}

std::string Canvas::margins(double left, double top, double width, double height) const {
  const double w = this->width();
  const double h = this->height();
  return fmt::format(
      "set lmargin at screen {:.6f}\nset rmargin at screen {:.6f}\nset tmargin at screen {:.6f}\n"
      "set bmargin at screen {:.6f}\n",
      left / w, (left + width) / w, 1 - top / h, 1 - (top + height) / h);
}

std::string Canvas::add_data(const std::string& lines) {
  const std::string name = fmt::format("$d{}", blocks_++);
  data_ += fmt::format("{} << EOD\n{}EOD\n", name, lines);
  return name;
}

void Canvas::add_panel(std::string_view title, const std::string& commands) {
  const int column = next_panel_ % layout_.columns;
  const int row = next_panel_ / layout_.columns;
  ++next_panel_;
  panels_ += margins(column * (layout_.left + layout_.panel_width) + layout_.left,
                     kTop + row * row_height() + kPanelTitle, layout_.panel_width, layout_.panel_height);
  panels_ += fmt::format("set title {} offset 0,-0.5 textcolor rgb '{}'\n", gnuplot_label(title), kTextColor);
  panels_ += commands;
  if (next_panel_ == 1) panels_ += "unset label 1\nunset label 2\n";  // the title is drawn with the first panel only
}

void Canvas::add_legend() {
  // Drawn by hand: gnuplot's key silently leaves out what it thinks has no room, which differs between terminals.
  const Legend& entries = layout_.legend;
  constexpr int kSample = 42;  // pixels of line
  const double lines = static_cast<double>(entries.size());
  panels_ += margins(panels_width(), kTop + kPanelTitle, right() - kMargin / 2, kLegendLine * lines);
  panels_ += fmt::format(
      "unset title\nunset border\nunset tics\nunset grid\nunset xlabel\nunset ylabel\nunset logscale\n"
      "set xrange [0:{}]\nset yrange [0:{}]\n",
      right() - kMargin / 2, lines);
  std::vector<std::string> plots;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto& [label, style] = entries[i];
    const double y = lines - static_cast<double>(i) - 0.5;
    panels_ += fmt::format("set label {} {} at {},{} left textcolor rgb '{}'\n", i + 10, gnuplot_label(label),
                           kSample + 12, y, kTextColor);
    // Not from the edge on: a line that is clipped there gets a corner, which wide ones stretch into a spike.
    const std::string line = add_data(fmt::format("2 {0}\n{1} {0}\n", y, kSample));
    plots.push_back(fmt::format("{} using 1:2 with lines {} notitle", line, style.line()));
    if (style.point_type == 0) continue;
    const std::string mark = add_data(fmt::format("{} {}\n", kSample / 2, y));
    plots.push_back(fmt::format("{} using 1:2 with points {} notitle", mark, style.mark()));
  }
  panels_ += "plot " + joined(plots);
  for (std::size_t i = 0; i < entries.size(); ++i) panels_ += fmt::format("unset label {}\n", i + 10);
}

void Canvas::add_color_scale(std::string_view label, double low, double high, const std::string& tics) {
  constexpr int kSteps = 128;
  std::string lines;
  const double step = (high - low) / kSteps;
  for (int i = 0; i < kSteps; ++i) lines += fmt::format("0.5 {0:.9g} {0:.9g}\n", low + (i + 0.5) * step);
  const int height = std::min(layout_.panel_height, 330);
  panels_ += margins(panels_width() + 10, kTop + kPanelTitle, 20, height);
  panels_ += fmt::format(
      "unset title\nunset xtics\nunset xlabel\nunset logscale\nset border 15 lc rgb '{}'\n"
      "set xrange [0:1]\nset yrange [{:.9g}:{:.9g}]\nunset ytics\nset y2range [{:.9g}:{:.9g}]\n"
      "set y2tics {} textcolor rgb '{}' scale 0.4\nset ylabel ''\nset y2label {} textcolor rgb '{}'\n"
      "plot {} using 1:2:(0.5):({:.9g}):3 with boxxyerror fs solid noborder lc palette notitle\n",
      kQuietColor, low, high, low, high, tics, kTextColor, gnuplot_label(label), kTextColor, add_data(lines), step);
}

Figure Canvas::finish() const {
  const std::string head = fmt::format(
      "unset key\nset bars 0\nset multiplot\n"
      "set label 1 {} at screen {:.6f},{:.6f} left font ':Bold' textcolor rgb '{}'\n"
      "set label 2 {} at screen {:.6f},{:.6f} left textcolor rgb '{}'\n"
      "set border 3 lc rgb '{}'\nset tics nomirror textcolor rgb '{}' scale 0.6\nset grid lc rgb '{}' lt 1 lw 1\n",
      gnuplot_label(layout_.title), 24.0 / width(), 1 - 28.0 / height(), kTextColor, gnuplot_label(layout_.caption),
      24.0 / width(), 1 - 60.0 / height(), kQuietColor, kQuietColor, kTextColor, kGridColor);
  return {layout_.name, width(), height(), data_ + head + panels_ + "unset multiplot\n"};
}

}  // namespace evictlab::plots
