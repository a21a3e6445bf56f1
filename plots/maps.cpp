#include "plots/maps.hpp"

#include <algorithm>

#include "plots/canvas.hpp"
#include "plots/gnuplot.hpp"
#include "plots/style.hpp"

namespace evictlab::plots {
namespace {

// White lines between the cells, as long as these stay large.
bool is_outlined(double last_x, double last_y) { return last_x < 24 && last_y < 40; }

std::string tics(const MapAxis& axis, std::string_view name) {
  if (axis.names.empty()) {
    return fmt::format("set {0}tics norotate 0,{1} scale 0\nset format {0} '%.0f'\n", name, tic_step(axis.last));
  }
  std::string places;
  for (std::size_t i = 0; i < axis.names.size(); ++i) {
    places += fmt::format("{}{} {}", i == 0 ? "" : ", ", gnuplot_tic(axis.names[i]), i);
  }
  return fmt::format("set {}tics {} ({}) scale 0\n", name, name == "x" ? "rotate by 40 right" : "norotate", places);
}

std::string plot(const std::string& data, double x_half, bool outlined) {
  return fmt::format("plot {} using 1:2:({:.9g}):(0.5):3 with boxxyerror fs solid {} lc palette notitle\n", data,
                     x_half, outlined ? "border rgb 'white' lw 0.6" : "noborder");
}

std::string y_axis(const MapAxis& y) {
  const std::string label = y.names.empty() ? y.label : std::string();
  return fmt::format("set ylabel {} offset -0.6,0 textcolor rgb '{}'\nset yrange [-0.5:{:.9g}]\n{}",
                     gnuplot_label(label), kTextColor, y.last + 0.5, tics(y, "y"));
}

constexpr const char* kBare = "unset logscale\nunset grid\nset border 0\nunset colorbox\n";

}  // namespace

void CellMap::add(double x, double y, double value) {
  auto& [sum, count] = cells_[{x, y}];
  sum += value;
  ++count;
}

double CellMap::last_x() const {
  double last = 0;
  for (const auto& [cell, mean] : cells_) last = std::max(last, cell.first);
  return last;
}

double CellMap::last_y() const {
  double last = 0;
  for (const auto& [cell, mean] : cells_) last = std::max(last, cell.second);
  return last;
}

double CellMap::highest() const {
  double highest = 0;
  for (const auto& [cell, mean] : cells_) highest = std::max(highest, mean.first / static_cast<double>(mean.second));
  return highest;
}

MapAxis layer_axis(double last) { return {"layer", last}; }
MapAxis head_axis(double last) { return {"query head", last}; }

std::string map_panel(const std::string& data, const MapAxis& x, const MapAxis& y) {
  return fmt::format("{}set xlabel {} offset 0,0.3 textcolor rgb '{}'\nset xrange [-0.5:{:.9g}]\n{}{}{}", kBare,
                     gnuplot_label(x.names.empty() ? x.label : ""), kTextColor, x.last + 0.5, tics(x, "x"), y_axis(y),
                     plot(data, 0.5, is_outlined(x.last, y.last)));
}

std::string map_panel(const std::string& data, const std::string& x_label, double x_half, const MapAxis& y) {
  return fmt::format(
      "{}set xlabel {} offset 0,0.3 textcolor rgb '{}'\nset xrange [0:1]\nset xtics norotate 0,0.25 scale 0\n"
      "set format x '%g'\n{}{}",
      kBare, gnuplot_label(x_label), kTextColor, y_axis(y), plot(data, x_half, is_outlined(0.5 / x_half, y.last)));
}

int map_size(double cells) { return static_cast<int>(std::clamp(36 * (cells + 1), 240.0, 420.0)); }

int name_width(const std::vector<std::string>& names) {
  std::size_t longest = 0;
  for (const std::string& name : names) longest = std::max(longest, label_text(name, kLongestName).size());
  return 9 * static_cast<int>(longest);
}

}  // namespace evictlab::plots
