#include "plots/task_values.hpp"

#include <algorithm>

#include "plots/series.hpp"

namespace evictlab::plots {

TaskValues::TaskValues(const results::Table& table) {
  const std::size_t task = table.column("task");
  const std::size_t quantity = table.column("quantity");
  const std::size_t layer = table.column("layer");
  const std::size_t mean = table.column("mean");
  const std::size_t low = table.column("low");
  const std::size_t high = table.column("high");
  const std::size_t prompts = table.column("prompts");
  for (std::size_t r = 0; r < table.rows(); ++r) {
    const auto value = table.number(r, mean);
    if (!value) continue;
    const double number = index_at(table, r, layer).value_or(0);
    const std::string name = table.text(r, task);
    last_layer_ = std::max(last_layer_, number);
    values_[table.text(r, quantity)][name][number] = {*value, table.number(r, low).value_or(*value),
                                                      table.number(r, high).value_or(*value)};
    auto& count = prompts_[name];
    count = std::max(count, static_cast<std::size_t>(index_at(table, r, prompts).value_or(0)));
  }
  for (const auto& [name, count] : prompts_) {
    if (name != kAllTasks) tasks_.push_back(name);
  }
}

const TaskValues::ByLayer& TaskValues::at(const std::string& quantity, const std::string& task) const {
  static const ByLayer kNone;
  const auto by_task = values_.find(quantity);
  if (by_task == values_.end()) return kNone;
  const auto by_layer = by_task->second.find(task);
  return by_layer == by_task->second.end() ? kNone : by_layer->second;
}

std::size_t TaskValues::prompts(const std::string& task) const {
  const auto found = prompts_.find(task);
  return found == prompts_.end() ? 0 : found->second;
}

Style task_style(std::size_t number) {
  constexpr const char* kColors[] = {"#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9",
                                     "#CC79A7", "#882255", "#332288", "#8C8C8C"};
  constexpr int kMarks[] = {7, 9, 5, 13, 11, 6, 8, 4, 12};
  constexpr std::size_t kCount = std::size(kColors);
  return {kColors[number % kCount], kMarks[number % kCount], number / kCount % 2 == 0 ? "solid" : "-", 1.6};
}

}  // namespace evictlab::plots
