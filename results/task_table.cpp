#include "results/task_table.hpp"

#include <map>
#include <tuple>

#include "results/schema.hpp"
#include "results/statistics.hpp"
#include "results/task_values.hpp"

namespace evictlab::results {
namespace {

// Values of one quantity by (task, quantity number, layer), then by prompt: a mean over what a prompt has of it.
struct Mean {
  double sum = 0.0;
  std::size_t count = 0;
};
using ByPrompt = std::map<std::string, Mean>;
using Groups = std::map<std::tuple<std::string, std::size_t, std::int64_t>, ByPrompt>;

Groups groups_of(const Table& table, std::size_t first_quantity) {
  const std::size_t prompt = table.column("prompt");
  const std::size_t task = table.column("task");
  const std::size_t layer = table.column("layer");
  Groups groups;
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto number = static_cast<std::int64_t>(table.number(r, layer).value_or(0));
    for (std::size_t column = first_quantity; column < table.columns().size(); ++column) {
      if (table.columns()[column] == "kind") continue;
      const auto value = table.number(r, column);
      if (!value) continue;
      for (const std::string& name : {table.text(r, task), std::string(kAllTasks)}) {
        Mean& mean = groups[{name, column, number}][table.text(r, prompt)];
        mean.sum += *value;
        ++mean.count;
      }
    }
  }
  return groups;
}

void add_groups(const char* name, const Table& table, const Groups& groups, Table& result) {
  for (const auto& [key, prompts] : groups) {
    std::vector<double> values;
    for (const auto& [prompt, mean] : prompts) values.push_back(mean.sum / static_cast<double>(mean.count));
    const Interval interval = bootstrap_mean(values);
    const auto& [task, column, layer] = key;
    Row row(result);
    row.set("task", task)
        .set("table", name)
        .set("quantity", table.columns()[column])
        .set("layer", layer)
        .set("mean", interval.mean)
        .set("low", interval.low)
        .set("high", interval.high)
        .set("prompts", values.size());
    result.add_row(std::move(row));
  }
}

}  // namespace

Table task_table(const Table& layers, const Table& attention) {
  Table result = new_table("tasks");
  add_groups("layers", layers, groups_of(layers, layers.column("dispersion")), result);
  add_groups("attention", attention, groups_of(attention, attention.column("entropy_nats")), result);
  return result;
}

}  // namespace evictlab::results
