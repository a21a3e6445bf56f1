#include "plots/report/findings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>

#include "plots/series.hpp"
#include "plots/task_values.hpp"

namespace evictlab::plots {
namespace {

using results::Table;
using Shares = std::map<int, double>;  // layer -> mean share

struct Mean {
  double sum = 0;
  double count = 0;
  void add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return count > 0 ? sum / count : 0.0; }
};

std::string percent(double share) { return fmt::format("{:.0f}", 100 * share); }

/// The layers of the largest values, largest first, as many as stand out: within a third of the first.
std::vector<int> leading(const TaskValues::ByLayer& values) {
  std::vector<std::pair<double, int>> order;
  for (const auto& [layer, value] : values) order.emplace_back(-value.mean, static_cast<int>(layer));
  std::ranges::sort(order);
  std::vector<int> layers;
  for (const auto& [negative, layer] : order) {
    if (layers.size() < 3 && -negative >= -order.front().first * 2 / 3) layers.push_back(layer);
  }
  return layers;
}

std::string layer_list(const std::vector<int>& layers) {
  return fmt::format("{} {}", layers.size() == 1 ? "layer" : "layers", fmt::join(layers, ", "));
}

double total_variation(const Shares& a, const Shares& b) {
  double sum = 0;
  std::set<int> layers;
  for (const auto& [layer, share] : a) layers.insert(layer);
  for (const auto& [layer, share] : b) layers.insert(layer);
  for (const int layer : layers) {
    const double first = a.contains(layer) ? a.at(layer) : 0.0;
    const double second = b.contains(layer) ? b.at(layer) : 0.0;
    sum += std::abs(first - second);
  }
  return sum / 2;
}

/// The two tasks whose shares lie furthest apart.
struct Furthest {
  std::string a, b;
  double distance = -1;
};
Furthest furthest(const std::map<std::string, Shares>& by_task) {
  Furthest found;
  for (auto a = by_task.begin(); a != by_task.end(); ++a) {
    for (auto b = std::next(a); b != by_task.end(); ++b) {
      const double distance = total_variation(a->second, b->second);
      if (distance > found.distance) found = {a->first, b->first, distance};
    }
  }
  return found;
}

Shares shares_of(const TaskValues::ByLayer& values) {
  Shares shares;
  for (const auto& [layer, value] : values) shares[static_cast<int>(layer)] = value.mean;
  return shares;
}

std::map<std::string, std::string> task_of_prompt(const Table& replay) {
  std::map<std::string, std::string> tasks;
  for (std::size_t r = 0; r < replay.rows(); ++r) {
    tasks[replay.text(r, replay.column("prompt"))] = replay.text(r, replay.column("task"));
  }
  return tasks;
}

}  // namespace

Sentences pattern_findings(const ResultTables& tables) {
  Sentences sentences;
  if (const Table* const tasks = find_table(tables, "tasks")) {
    const TaskValues values(*tasks);
    const auto& dispersion = values.at("dispersion_normalized", kAllTasks);
    const auto& shift = values.at("shift_normalized", kAllTasks);
    if (!dispersion.empty() && !shift.empty()) {
      sentences.push_back(
          fmt::format("Attention is most dispersed in {} (CAKE's H, normalised) and shifts most from query to query in "
                      "{} (CAKE's V).",
                      layer_list(leading(dispersion)), layer_list(leading(shift))));
    }
    const auto& sinks = values.at("sink_mass", kAllTasks);
    if (!sinks.empty()) {
      const auto most = std::ranges::max_element(sinks, {}, [](const auto& entry) { return entry.second.mean; });
      sentences.push_back(fmt::format("The first positions draw at most {} % of a layer's attention, in layer {:g}.",
                                      percent(most->second.mean), most->first));
    }
  }
  const Table* const attention = find_table(tables, "attention");
  if (attention == nullptr) return sentences;
  const Table& table = *attention;
  const auto kind = find_column(table, "kind");
  if (!kind) return sentences;
  // The kind that a head is of on most prompts.
  std::map<std::pair<std::string, std::string>, std::map<std::string, int>> votes;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    ++votes[{table.text(r, table.column("layer")), table.text(r, table.column("head"))}][table.text(r, *kind)];
  }
  std::map<std::string, int> heads;
  for (const auto& [head, kinds] : votes) {
    ++heads[std::ranges::max_element(kinds, {}, [](const auto& entry) { return entry.second; })->first];
  }
  std::vector<std::string> counts;
  for (const auto& [name, count] : heads) counts.push_back(fmt::format("{} {}", count, name));
  if (!counts.empty())
    sentences.push_back(fmt::format("Of {} heads, by rule of thumb: {}.", votes.size(), fmt::join(counts, ", ")));
  return sentences;
}

Sentences task_findings(const ResultTables& tables) {
  Sentences sentences;
  const Table* const found_tasks = find_table(tables, "tasks");
  if (found_tasks == nullptr) return sentences;
  const TaskValues values(*found_tasks);
  if (values.tasks().size() < 2) return sentences;
  struct Share {
    const char* quantity;
    const char* says;   // followed by the layers
    const char* moves;  // after the share by which two tasks differ
  };
  constexpr Share kShares[] = {
      {"preference_share", "CAKE would give most to", "of the budget would move to other layers"},
      {"retained_share",
       "Of the most attended positions of all layers together (DynamicKV's retained share), most lie in",
       "lie in other layers"}};
  for (const auto& [quantity, says, moves] : kShares) {
    std::map<std::vector<int>, std::vector<std::string>> by_layers;
    std::map<std::string, Shares> by_task;
    for (const std::string& task : values.tasks()) {
      const auto& layers = values.at(quantity, task);
      if (layers.empty()) continue;
      by_layers[{leading(layers).front()}].push_back(task.empty() ? "no task" : task);
      by_task[task] = shares_of(layers);
    }
    if (by_task.size() < 2) continue;
    std::vector<std::string> parts;
    for (const auto& [layers, tasks] : by_layers) {
      parts.push_back(by_layers.size() == 1 ? fmt::format("{} for every task", layer_list(layers))
                                            : fmt::format("{} for {}", layer_list(layers), fmt::join(tasks, ", ")));
    }
    const Furthest most = furthest(by_task);
    sentences.push_back(fmt::format("{} {}; between {} and {}, which differ most, {} % {}.", says,
                                    fmt::join(parts, "; "), most.a, most.b, percent(most.distance), moves));
  }
  return sentences;
}

SmallTable budget_findings(const ResultTables& tables) {
  const Table* const budgets = find_table(tables, "budgets");
  if (budgets == nullptr || budgets->rows() == 0) return {};
  const Table& table = *budgets;
  const std::string budget = spread(requested_budgets(table), 1).front();
  const Table* const replay = find_table(tables, "replay");
  const auto tasks = replay ? task_of_prompt(*replay) : std::map<std::string, std::string>{};
  std::map<PolicyKey, std::map<std::string, std::map<int, double>>> slots;  // policy -> prompt -> layer -> slots
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto count = table.number(r, table.column("slots"));
    if (table.text(r, table.column("budget_requested")) != budget || !count) continue;
    const int layer = static_cast<int>(index_at(table, r, table.column("layer")).value_or(0));
    slots[{table.text(r, table.column("policy")), table.text(r, table.column("parameters"))}]
         [table.text(r, table.column("prompt"))][layer] += *count;
  }
  SmallTable result{
      .caption = fmt::format("How policies divide a budget of {} over the layers: shares relative to an even "
                             "split, means over prompts; moved: between the two tasks that differ most",
                             budget),
      .columns = {"policy", "most to layer", "times even", "least to layer", "times even", "moved between tasks, %"}};
  for (const Series& series : series_of(table)) {
    const auto own = slots.find(series.key);
    if (own == slots.end() || series.key.policy == "full") continue;
    std::map<int, Mean> means;
    std::map<std::string, std::map<int, Mean>> by_task;
    for (const auto& [prompt, layers] : own->second) {
      double total = 0;
      for (const auto& [layer, count] : layers) total += count;
      for (const auto& [layer, count] : layers) {
        const double share = total > 0 ? count / total : 0.0;
        means[layer].add(share);
        if (tasks.contains(prompt)) by_task[tasks.at(prompt)][layer].add(share);
      }
    }
    const auto less = [](const auto& a, const auto& b) { return a.second.value() < b.second.value(); };
    const auto most = std::max_element(means.begin(), means.end(), less);
    const auto least = std::min_element(means.begin(), means.end(), less);
    const double layers = static_cast<double>(means.size());
    if (most->second.value() - least->second.value() < 0.01 / layers) continue;  // even
    std::map<std::string, Shares> task_shares;
    for (const auto& [task, by_layer] : by_task) {
      for (const auto& [layer, mean] : by_layer) task_shares[task][layer] = mean.value();
    }
    const Furthest moved = furthest(task_shares);
    result.rows.push_back({series.label, std::to_string(most->first),
                           fmt::format("{:.2f}", most->second.value() * layers), std::to_string(least->first),
                           fmt::format("{:.2f}", least->second.value() * layers),
                           moved.distance < 0 ? "-" : fmt::format("{:.1f}", 100 * moved.distance)});
  }
  return result;
}

SmallTable needle_findings(const ResultTables& tables) {
  const Table* const spans = find_table(tables, "spans");
  if (spans == nullptr || spans->rows() == 0) return {};
  const Table& table = *spans;
  const std::string budget = spread(requested_budgets(table), 1).front();
  struct Kept {
    Mean all;
    std::array<Mean, 3> thirds;
    std::map<std::string, Mean> layers;
  };
  std::map<PolicyKey, Kept> kept;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto retained = table.number(r, table.column("retained"));
    if (table.text(r, table.column("span")) != "needle" || table.text(r, table.column("budget_requested")) != budget ||
        !retained) {
      continue;
    }
    Kept& own = kept[{table.text(r, table.column("policy")), table.text(r, table.column("parameters"))}];
    const std::string layer = table.text(r, table.column("layer"));
    if (layer != "all") {
      own.layers[layer].add(*retained);
      continue;
    }
    own.all.add(*retained);
    const double depth = std::clamp(table.number(r, table.column("depth")).value_or(0), 0.0, 1.0);
    own.thirds[std::min<std::size_t>(2, static_cast<std::size_t>(3 * depth))].add(*retained);
  }
  SmallTable result{
      .caption = fmt::format(
          "Needle positions kept at a budget of {}, percent, mean over prompts, layers and kept sets", budget),
      .columns = {"policy", "kept, %", "first third", "middle third", "last third", "worst layer", "kept there, %"}};
  for (const Series& series : series_of(table)) {
    const auto own = kept.find(series.key);
    if (own == kept.end()) continue;
    const Kept& values = own->second;
    const auto worst = std::min_element(values.layers.begin(), values.layers.end(), [](const auto& a, const auto& b) {
      return a.second.value() < b.second.value();
    });
    std::vector<std::string> row{series.label, percent(values.all.value())};
    for (const Mean& third : values.thirds) row.push_back(third.count > 0 ? percent(third.value()) : "-");
    row.push_back(worst == values.layers.end() ? "-" : worst->first);
    row.push_back(worst == values.layers.end() ? "-" : percent(worst->second.value()));
    result.rows.push_back(std::move(row));
  }
  return result.rows.empty() ? SmallTable{} : result;
}

SmallTable calibration_findings(const ResultTables& tables) {
  const Table* const calibration = find_table(tables, "calibration");
  if (calibration == nullptr) return {};
  const Table& table = *calibration;
  SmallTable result{.caption =
                        "How replay's measures order policies as the running model's divergence from its full cache "
                        "does: Kendall's tau-b, mean over budgets (1: the same order)",
                    .columns = {"measure", "tau-b", "low", "high", "ceiling"}};
  for (std::size_t r = 0; r < table.rows(); ++r) {
    if (table.text(r, table.column("budget_requested")) != "all") continue;
    const auto cell = [&](const char* column) {
      const auto value = table.number(r, table.column(column));
      return value ? fmt::format("{:.2f}", *value) : std::string("-");
    };
    result.rows.push_back({table.text(r, table.column("measure")), cell("tau_b"), cell("tau_b_low"), cell("tau_b_high"),
                           cell("ceiling")});
  }
  return result.rows.empty() ? SmallTable{} : result;
}

}  // namespace evictlab::plots
