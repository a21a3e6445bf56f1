#include "plots/series.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "plots/gnuplot.hpp"
#include "results/labels.hpp"

namespace evictlab::plots {
namespace {

/// Ceilings and controls, the ends of the scale, before the methods.
int role_rank(results::Role role) {
  return role == results::Role::kCeiling ? 0 : role == results::Role::kControl ? 1 : 2;
}

}  // namespace

std::vector<Series> series_of(const results::Table& table) {
  const results::RunColumns columns(table);
  std::map<results::PolicyKey, results::Role> policies;
  for (std::size_t row = 0; row < table.rows(); ++row) policies.emplace(columns.key(row), columns.role(row));
  const auto labels = results::policy_labels(results::policies_of(table));
  std::vector<Series> series;
  std::map<std::string, std::size_t> uses;
  for (const auto& [key, role] : policies) {
    series.push_back(
        {key, role, label_text(labels.at(key), kLongestName), policy_style(key.policy, role, uses[key.policy]++)});
  }
  std::ranges::stable_sort(
      series, {}, [](const Series& one) { return std::tuple(role_rank(one.role), policy_rank(one.key.policy)); });
  return series;
}

results::Interval estimate(const std::map<std::string, double>& by_prompt) {
  return results::bootstrap_mean(results::values_of(by_prompt), {.resamples = 1000});
}

std::string mean_over(std::size_t prompts, bool intervals) {
  if (prompts == 1) return "one prompt";
  return fmt::format("mean over {} prompts{}", prompts, intervals ? ", 95 % bootstrap intervals" : "");
}

std::string task_label(const std::string& task, std::size_t prompts) {
  return fmt::format("{} (n = {})", task.empty() ? "no task" : label_text(task, kLongestName / 2), prompts);
}

}  // namespace evictlab::plots
