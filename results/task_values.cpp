#include "results/task_values.hpp"

#include <algorithm>

#include "results/rows.hpp"

namespace evictlab::results {

TaskValues::TaskValues(const Table& table) {
  for (const RowView row : RowsOf(table)) {
    const auto mean = row.number("mean");
    if (!mean) continue;
    const double layer = row.index("layer").value_or(0);
    const std::string task = row.text("task");
    last_layer_ = std::max(last_layer_, layer);
    values_[row.text("quantity")][task][layer] = {*mean, row.number("low"), row.number("high")};
    auto& prompts = prompts_[task];
    prompts = std::max(prompts, static_cast<std::size_t>(row.index("prompts").value_or(0)));
  }
  for (const auto& [task, prompts] : prompts_) {
    if (task != kAllTasks) tasks_.push_back(task);
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

}  // namespace evictlab::results
