#pragma once

#include <map>
#include <string>
#include <vector>

#include "plots/style.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::plots {

/// tasks.csv, as figures ask for it: quantity, task, layer -> mean with its interval.
class TaskValues {
 public:
  explicit TaskValues(const results::Table& table);

  using ByLayer = std::map<double, results::Interval>;
  /// Empty where it was not measured.
  const ByLayer& at(const std::string& quantity, const std::string& task) const;
  /// Without "all", in the order of their names.
  const std::vector<std::string>& tasks() const { return tasks_; }
  std::size_t prompts(const std::string& task) const;
  double last_layer() const { return last_layer_; }

 private:
  std::map<std::string, std::map<std::string, ByLayer>> values_;
  std::map<std::string, std::size_t> prompts_;
  std::vector<std::string> tasks_;
  double last_layer_ = 0;
};

inline constexpr const char* kAllTasks = "all";

/// A task's own style: colours and marks in turn.
Style task_style(std::size_t number);

}  // namespace evictlab::plots
