#pragma once

#include <map>
#include <string>
#include <vector>

#include "plots/style.hpp"
#include "results/role.hpp"
#include "results/run_table.hpp"
#include "results/statistics.hpp"
#include "results/table.hpp"

namespace evictlab::plots {

/// A policy with its parameters: what one line of a figure stands for.
struct Series {
  results::PolicyKey key;
  results::Role role = results::Role::kMethod;
  std::string label;
  Style style;

  /// The reference that holds every position: a map of what it keeps shows nothing.
  bool is_full_cache() const { return results::is_full_cache(key, role); }
};

/// The policies of a table in the order of legends: ceilings, controls, then methods by family.
std::vector<Series> series_of(const results::Table& table);

/// Mean over prompts with its bootstrap interval.
results::Interval estimate(const std::map<std::string, double>& by_prompt);

/// For captions: "mean over 12 prompts", "one prompt"; with ", 95 % bootstrap intervals" where they are drawn.
std::string mean_over(std::size_t prompts, bool intervals);

/// For panels and legends: "copy (n = 6)", "no task (n = 6)".
std::string task_label(const std::string& task, std::size_t prompts);

}  // namespace evictlab::plots
