#pragma once

#include <fmt/format.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace evictlab::plots {

/// A map of numbers over cells (x, y), each the mean of what was added.
class CellMap {
 public:
  void add(double x, double y, double value);
  bool empty() const { return cells_.empty(); }
  /// One line per cell: x y value; `shown` maps values to what is coloured.
  template <typename Shown>
  std::string lines(const Shown& shown) const {
    std::string text;
    for (const auto& [cell, mean] : cells_) {
      text += fmt::format("{:.9g} {:.9g} {:.9g}\n", cell.first, cell.second,
                          shown(mean.first / static_cast<double>(mean.second)));
    }
    return text;
  }
  /// body(x, y, mean) for every cell.
  template <typename Body>
  void each(const Body& body) const {
    for (const auto& [cell, mean] : cells_) {
      body(cell.first, cell.second, mean.first / static_cast<double>(mean.second));
    }
  }
  std::string lines() const {
    return lines([](double value) { return value; });
  }
  double last_x() const;
  double last_y() const;
  double highest() const;

 private:
  std::map<std::pair<double, double>, std::pair<double, int>> cells_;
};

/// One axis of a map: cells 0..last, numbered, or named where there are names.
struct MapAxis {
  std::string label;
  double last = 0;
  std::vector<std::string> names = {};
};
MapAxis layer_axis(double last);
MapAxis head_axis(double last);

/// Commands that set both axes and plot the cells of `data` with the palette. `x_range`: what the x cells span, where
/// it is not 0..last: they are then `x_half` to both sides.
std::string map_panel(const std::string& data, const MapAxis& x, const MapAxis& y);
/// The same for x cells that are parts of 0..1, `x_half` to both sides.
std::string map_panel(const std::string& data, const std::string& x_label, double x_half, const MapAxis& y);

/// Pixels for so many cells: wider for more, within reason.
int map_size(double cells);

/// The room that the longest of the names takes left of an axis, pixels.
int name_width(const std::vector<std::string>& names);

}  // namespace evictlab::plots
