#include "results/differences.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "results/schema.hpp"
#include "results/statistics.hpp"
#include "results/task_values.hpp"

namespace evictlab::results {
namespace {

using Values = std::map<std::string, double>;  // by prompt

/// One recording: quantity and layer to the values of its prompts, and each prompt's task.
struct Recording {
  std::map<std::string, std::map<std::int64_t, Values>> values;
  std::map<std::string, std::string> tasks;
  std::vector<std::int64_t> layers;
};

constexpr const char* kShare = "preference_share";
/// Shares of a sum over layers, and what they are called as multiples of an even split.
constexpr std::pair<const char*, const char*> kShares[] = {{kShare, "preference_relative"},
                                                           {"retained_share", "retained_relative"}};

Recording read(const Table& table) {
  const std::size_t prompt = table.column("prompt");
  const std::size_t task = table.column("task");
  const std::size_t layer = table.column("layer");
  const std::size_t first = table.column("dispersion");
  Recording recording;
  std::set<std::int64_t> layers;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto number = static_cast<std::int64_t>(table.number(r, layer).value_or(0));
    layers.insert(number);
    recording.tasks[table.text(r, prompt)] = table.text(r, task);
    for (std::size_t column = first; column < table.columns().size(); ++column) {
      if (const auto value = table.number(r, column)) {
        recording.values[table.columns()[column]][number][table.text(r, prompt)] = *value;
      }
    }
  }
  recording.layers.assign(layers.begin(), layers.end());
  for (const auto& [share, relative] : kShares) {
    auto by_layer = recording.values.find(share);
    if (by_layer == recording.values.end()) continue;
    auto multiples = by_layer->second;
    for (auto& [number, values] : multiples) {
      for (auto& [name, value] : values) value *= static_cast<double>(layers.size());
    }
    recording.values[relative] = std::move(multiples);
  }
  return recording;
}

void set_comparison(Row& row, const Interval& difference, bool paired, std::size_t prompts_a, std::size_t prompts_b) {
  row.set("difference", difference.mean)
      .set("low", difference.low)
      .set("high", difference.high)
      .set("paired", paired ? "yes" : "no")
      .set("prompts_a", prompts_a)
      .set("prompts_b", prompts_b);
}

/// The layer of `others` at the same relative depth as layers[i].
std::int64_t nearest(const std::vector<std::int64_t>& layers, std::size_t i, const std::vector<std::int64_t>& others) {
  if (layers.size() == others.size()) return others[i];
  if (layers.size() < 2) return others.front();
  const double depth = static_cast<double>(i) / static_cast<double>(layers.size() - 1);
  return others[static_cast<std::size_t>(std::llround(depth * static_cast<double>(others.size() - 1)))];
}

/// The prompts to compare for a task, and whether they are the same in both.
struct Sample {
  std::vector<std::string> a;
  std::vector<std::string> b;
  bool paired = false;
};

Sample sample_of(const Recording& a, const Recording& b, const std::string& task) {
  Sample sample;
  const auto belongs = [&task](const auto& entry) { return task == kAllTasks || entry.second == task; };
  for (const auto& entry : a.tasks) {
    if (belongs(entry)) sample.a.push_back(entry.first);
  }
  for (const auto& entry : b.tasks) {
    if (belongs(entry)) sample.b.push_back(entry.first);
  }
  std::vector<std::string> common;
  std::ranges::set_intersection(sample.a, sample.b, std::back_inserter(common));
  if (!common.empty()) return {common, common, true};
  return sample;
}

std::vector<double> chosen(const Values& values, const std::vector<std::string>& prompts) {
  std::vector<double> result;
  for (const std::string& prompt : prompts) {
    if (const auto found = values.find(prompt); found != values.end()) result.push_back(found->second);
  }
  return result;
}

void add_quantities(const Recording& a, const Recording& b, const std::string& task, const Sample& sample,
                    Table& table) {
  for (const auto& [quantity, by_layer] : a.values) {
    const auto other = b.values.find(quantity);
    if (other == b.values.end()) continue;
    const bool share = std::ranges::any_of(kShares, [&name = quantity](const auto& one) { return one.first == name; });
    if (share && a.layers.size() != b.layers.size()) continue;  // of sums over more layers: not comparable
    for (std::size_t i = 0; i < a.layers.size(); ++i) {
      const std::int64_t layer_b = nearest(a.layers, i, b.layers);
      const auto at_a = by_layer.find(a.layers[i]);
      const auto at_b = other->second.find(layer_b);
      if (at_a == by_layer.end() || at_b == other->second.end()) continue;
      const std::vector<double> values_a = chosen(at_a->second, sample.a);
      const std::vector<double> values_b = chosen(at_b->second, sample.b);
      if (values_a.empty() || values_b.empty()) continue;
      const bool paired = sample.paired && values_a.size() == values_b.size();
      const Interval difference =
          paired ? bootstrap_paired_difference(values_a, values_b) : bootstrap_difference(values_a, values_b);
      Row row(table);
      row.set("task", task)
          .set("quantity", quantity)
          .set("layer_a", a.layers[i])
          .set("layer_b", layer_b)
          .set("mean_a", mean(values_a))
          .set("mean_b", mean(values_b));
      set_comparison(row, difference, paired, values_a.size(), values_b.size());
      table.add_row(std::move(row));
    }
  }
}

/// A prompt's preference shares at A's layers: [L_A]. Empty where a layer is missing.
std::vector<double> shares_of(const Recording& recording, const Recording& a, const std::string& prompt) {
  std::vector<double> shares(a.layers.size(), 0.0);
  const auto by_layer = recording.values.find(kShare);
  if (by_layer == recording.values.end()) return {};
  for (std::size_t i = 0; i < recording.layers.size(); ++i) {
    const auto at_layer = by_layer->second.find(recording.layers[i]);
    if (at_layer == by_layer->second.end() || !at_layer->second.contains(prompt)) return {};
    const std::int64_t own = nearest(recording.layers, i, a.layers);
    const auto place = static_cast<std::size_t>(std::ranges::lower_bound(a.layers, own) - a.layers.begin());
    shares[place] += at_layer->second.at(prompt);
  }
  return shares;
}

std::vector<std::vector<double>> all_shares(const Recording& recording, const Recording& a,
                                            const std::vector<std::string>& prompts) {
  std::vector<std::vector<double>> result;
  for (const std::string& prompt : prompts) {
    std::vector<double> shares = shares_of(recording, a, prompt);
    if (!shares.empty()) result.push_back(std::move(shares));
  }
  return result;
}

/// Half the summed absolute difference of the mean shares of the prompts chosen.
double distance(const std::vector<std::vector<double>>& a, const std::vector<std::size_t>& chosen_a,
                const std::vector<std::vector<double>>& b, const std::vector<std::size_t>& chosen_b) {
  double sum = 0.0;
  for (std::size_t layer = 0; layer < a.front().size(); ++layer) {
    double difference = 0.0;
    for (const std::size_t i : chosen_a) difference += a[i][layer] / static_cast<double>(chosen_a.size());
    for (const std::size_t i : chosen_b) difference -= b[i][layer] / static_cast<double>(chosen_b.size());
    sum += std::abs(difference);
  }
  return 0.5 * sum;
}

void add_distance(const Recording& a, const Recording& b, const std::string& task, const Sample& sample, Table& table) {
  const auto shares_a = all_shares(a, a, sample.a);
  const auto shares_b = all_shares(b, a, sample.b);
  if (shares_a.empty() || shares_b.empty()) return;
  const bool paired = sample.paired && shares_a.size() == shares_b.size();
  const auto everyone = [](std::size_t count) {
    std::vector<std::size_t> all(count);
    for (std::size_t i = 0; i < count; ++i) all[i] = i;
    return all;
  };
  const BootstrapOptions options;
  core::SplitMix64 random(options.seed);
  const auto resample = [&random](std::size_t count) {
    std::vector<std::size_t> drawn(count);
    for (std::size_t& index : drawn) {
      index = std::min(count - 1, static_cast<std::size_t>(random.uniform() * static_cast<double>(count)));
    }
    return drawn;
  };
  Interval interval{.mean = distance(shares_a, everyone(shares_a.size()), shares_b, everyone(shares_b.size()))};
  if (std::min(shares_a.size(), shares_b.size()) > 1) {
    std::vector<double> distances(options.resamples);
    for (double& value : distances) {
      const std::vector<std::size_t> drawn_a = resample(shares_a.size());
      value = distance(shares_a, drawn_a, shares_b, paired ? drawn_a : resample(shares_b.size()));
    }
    const double tail = (1 - options.confidence) / 2;
    interval.low = quantile(distances, tail);
    interval.high = quantile(distances, 1 - tail);
  }
  Row row(table);
  row.set("task", task).set("quantity", "preference_distance");
  set_comparison(row, interval, paired, shares_a.size(), shares_b.size());
  table.add_row(std::move(row));
}

}  // namespace

Table difference_table(const Table& layers_a, const Table& layers_b) {
  const Recording a = read(layers_a);
  const Recording b = read(layers_b);
  Table table = new_table("differences");
  std::set<std::string> tasks_a;
  std::set<std::string> tasks{kAllTasks};
  for (const auto& [prompt, task] : a.tasks) tasks_a.insert(task);
  for (const auto& [prompt, task] : b.tasks) {
    if (tasks_a.contains(task)) tasks.insert(task);
  }
  for (const std::string& task : tasks) {
    const Sample sample = sample_of(a, b, task);
    add_distance(a, b, task, sample, table);
    add_quantities(a, b, task, sample, table);
  }
  return table;
}

}  // namespace evictlab::results
