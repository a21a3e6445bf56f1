#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::results {

/// The task that stands for all prompts.
inline constexpr const char* kAllTasks = "all";

/// Reads tasks.csv: by quantity, task and layer a mean over prompts with its interval.
class TaskValues {
 public:
  explicit TaskValues(const Table& table);

  using ByLayer = std::map<double, Interval>;
  /// Empty where it was not measured.
  const ByLayer& at(const std::string& quantity, const std::string& task) const;
  /// Without kAllTasks, in the order of their names.
  const std::vector<std::string>& tasks() const { return tasks_; }
  std::size_t prompts(const std::string& task) const;
  double last_layer() const { return last_layer_; }

 private:
  std::map<std::string, std::map<std::string, ByLayer>> values_;
  std::map<std::string, std::size_t> prompts_;
  std::vector<std::string> tasks_;
  double last_layer_ = 0;
};

}  // namespace evictlab::results
