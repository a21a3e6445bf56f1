#include "cli/analysis_summary.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "cli/number_text.hpp"
#include "results/task_values.hpp"

namespace evictlab::cli {
namespace {

using results::kAllTasks;
using results::Table;

struct Column {
  const char* quantity;
  const char* head;
  const char* format;
  std::size_t width;
};
constexpr Column kColumns[] = {
    {"normalized_entropy", "entropy", "{:.3f}", 9}, {"sink_mass", "sinks", "{:.3f}", 8},
    {"recent_mass", "recent", "{:.3f}", 8},         {"heavy_mass", "heavy", "{:.3f}", 8},
    {"positions_90", "for 90 %", "{:.0f}", 10},     {"dispersion_normalized", "dispersion", "{:.3f}", 12},
    {"shift_normalized", "shift", "{:.4f}", 9},     {"preference_share", "CAKE", "{:.3f}", 8},
    {"retained_share", "DynamicKV", "{:.3f}", 11},  {"window_hit_rate", "foreseen", "{:.3f}", 10},
};

/// The layers of the largest shares, "3 5 4".
std::string leading(const results::TaskValues::ByLayer& shares) {
  constexpr std::size_t kShown = 3;
  std::vector<std::pair<double, double>> order;
  for (const auto& [layer, share] : shares) order.emplace_back(-share.mean, layer);
  std::ranges::sort(order);
  order.resize(std::min(order.size(), kShown));
  std::vector<double> layers;
  for (const auto& [share, layer] : order) layers.push_back(layer);
  return layers.empty() ? std::string("-") : fmt::format("{}", fmt::join(layers, " "));
}

}  // namespace

std::string analysis_summary(const Table& tasks) {
  const results::TaskValues values(tasks);
  std::set<double> layers;
  for (const Column& column : kColumns) {
    for (const auto& [layer, value] : values.at(column.quantity, kAllTasks)) layers.insert(layer);
  }
  const auto at = [&values](const char* quantity, double layer) -> std::optional<double> {
    const auto& by_layer = values.at(quantity, kAllTasks);
    const auto found = by_layer.find(layer);
    return found == by_layer.end() ? std::nullopt : std::optional(found->second.mean);
  };

  std::string text = fmt::format(
      "How the layers attend, mean over {} prompts (intervals and tasks: tasks.csv; CAKE and DynamicKV: the layer's "
      "share of\n"
      "their budget; foreseen: the future's top positions that are also the window's)\n\n{:>7}",
      values.prompts(kAllTasks), "layer");
  for (const Column& column : kColumns) text += fmt::format("{:>{}}", column.head, column.width);
  text += '\n';
  for (const double layer : layers) {
    text += fmt::format("{:>7}", layer);
    for (const Column& column : kColumns) {
      text += fmt::format("{:>{}}", number_text(at(column.quantity, layer), column.format), column.width);
    }
    text += '\n';
  }
  if (values.tasks().size() < 2) return text;

  text += fmt::format("\n  {:<20}{:>8}  {:<18}{}\n", "task", "prompts", "most under CAKE", "most under DynamicKV");
  for (const std::string& task : values.tasks()) {
    text += fmt::format("  {:<20}{:>8}  {:<18}{}\n", task.empty() ? "(none)" : task, values.prompts(task),
                        leading(values.at("preference_share", task)), leading(values.at("retained_share", task)));
  }
  return text;
}

std::string difference_summary(const Table& differences) {
  const std::size_t quantity = differences.column("quantity");
  const std::size_t task = differences.column("task");
  const auto cell = [&](std::size_t row, const char* column) {
    return number_text(differences.number(row, differences.column(column)), "{:.4g}");
  };
  std::string text = fmt::format(
      "\nHow far CAKE's preferences over layers lie apart (0: the same, 1: disjoint)\n\n"
      "  {:<20}{:>10}{:>22}{:>12}\n",
      "task", "distance", "95 % interval", "prompts");
  std::string beyond;
  for (std::size_t r = 0; r < differences.rows(); ++r) {
    const std::string name = differences.text(r, task);
    if (differences.text(r, quantity) == "preference_distance") {
      text += fmt::format("  {:<20}{:>10}{:>22}{:>12}\n", name, cell(r, "difference"),
                          fmt::format("{} .. {}", cell(r, "low"), cell(r, "high")),
                          fmt::format("{} / {}", cell(r, "prompts_a"), cell(r, "prompts_b")));
      continue;
    }
    const auto low = differences.number(r, differences.column("low"));
    const auto high = differences.number(r, differences.column("high"));
    constexpr const char* kShown[] = {"dispersion_normalized", "shift_normalized", "preference_relative",
                                      "retained_relative", "window_hit_rate"};
    const bool shown = std::ranges::find(kShown, differences.text(r, quantity)) != std::end(kShown);
    if (name != kAllTasks || !shown || !low || !high || (*low <= 0 && *high >= 0)) continue;
    beyond += fmt::format("  {:<24}{:>8}{:>8}{:>12}{:>12}{:>12}{:>24}\n", differences.text(r, quantity),
                          cell(r, "layer_a"), cell(r, "layer_b"), cell(r, "mean_a"), cell(r, "mean_b"),
                          cell(r, "difference"), fmt::format("{} .. {}", cell(r, "low"), cell(r, "high")));
  }
  text += "\nLayers whose interval of A - B leaves out 0, over all prompts\n\n";
  if (beyond.empty()) return text + "  none\n";
  return text +
         fmt::format("  {:<24}{:>8}{:>8}{:>12}{:>12}{:>12}{:>24}\n", "quantity", "layer A", "layer B", "A", "B",
                     "A - B", "95 % interval") +
         beyond;
}

nlohmann::ordered_json table_json(const Table& table) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (std::size_t r = 0; r < table.rows(); ++r) {
    nlohmann::ordered_json row = nlohmann::ordered_json::array();
    for (const results::Cell& cell : table.row(r)) {
      std::visit(
          [&row](const auto& value) {
            if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>) {
              row.push_back(nullptr);
            } else {
              row.push_back(value);
            }
          },
          cell);
    }
    rows.push_back(std::move(row));
  }
  return {{"columns", table.columns()}, {"rows", std::move(rows)}};
}

}  // namespace evictlab::cli
