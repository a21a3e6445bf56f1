#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "plots/gnuplot.hpp"
#include "plots/style.hpp"
#include "results/statistics.hpp"

namespace evictlab::plots {

/// Plot commands for points "x y low high" of a data block: their intervals and the line through them.
std::vector<std::string> line_with_bars(const std::string& data, const Style& style);

/// One line "x y low high" for line_with_bars(); a value without an interval gets no bar. Numbers below `least`, which
/// a logarithmic axis cannot show, are drawn there.
std::string point_with_bar(double x, const results::Interval& value,
                           double least = std::numeric_limits<double>::lowest());

/// The pieces of one plot command, as gnuplot separates them, with its end.
std::string joined(const std::vector<std::string>& plots);

/// "set xtics ..." for a logarithmic axis ("x" or "y") from `low` to `high` > low > 0: 1, 2 and 5 times powers of ten
/// where there are fewer than two decades to label, else gnuplot's own.
std::string logarithmic_tics(std::string_view axis, double low, double high);

/// Whole-number tics up to `last` that do not crowd: every, every 2nd, 4th, ... of them.
int tic_step(double last);

/// A grid of equal panels under a title and a caption, with a legend or a colour scale on the right. Places
/// everything in pixels, so that nothing overlaps whatever the number of panels.
class Canvas {
 public:
  using Legend = std::vector<std::pair<std::string, Style>>;

  struct Layout {
    std::string name;
    std::string title;
    std::string caption;  // one line; what is shown, over how many prompts
    int panels = 1;
    int columns = 1;
    int panel_width = 420;  // of the axes' rectangle, pixels
    int panel_height = 330;
    int left = 104;             // of a panel: its y label and tics
    int below = 72;             // of a panel: its x label and tics
    Legend legend = {};         // drawn by add_legend()
    int color_scale_width = 0;  // drawn by add_color_scale()
  };

  /// Throws PlotError for more panels than a figure can have.
  explicit Canvas(Layout layout);

  /// Data for plot commands, one line a point; returns the name to plot it by: "$d0".
  std::string add_data(const std::string& lines);
  /// The next panel, row by row: `commands` set its axes and plot.
  void add_panel(std::string_view title, const std::string& commands);
  /// The legend, in the right margin.
  void add_legend();
  /// A colour scale in the right margin, for the palette of the panels. `tics` as gnuplot takes them.
  void add_color_scale(std::string_view label, double low, double high, const std::string& tics);

  Figure finish() const;

 private:
  int rows() const { return (layout_.panels + layout_.columns - 1) / layout_.columns; }
  int right() const;
  int panels_width() const;
  int width() const;
  int row_height() const;  // with the gap to the row below
  int height() const;
  /// A rectangle in pixels from the top left as gnuplot margins.
  std::string margins(double left, double top, double width, double height) const;

  Layout layout_;
  int next_panel_ = 0;
  int blocks_ = 0;
  std::string data_;
  std::string panels_;
};

}  // namespace evictlab::plots
