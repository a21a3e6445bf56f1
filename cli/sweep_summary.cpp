#include "cli/sweep_summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "cli/number_text.hpp"
#include "results/labels.hpp"
#include "results/role.hpp"
#include "results/rows.hpp"

namespace evictlab::cli {
namespace {

using results::Table;

constexpr std::size_t kMostBudgets = 8;
constexpr std::size_t kMostPolicies = 15;
constexpr std::size_t kMostCeilings = 2;  // where there are more policies than are shown

std::size_t width_of(const std::vector<std::string>& names) {
  std::size_t width = 8;
  for (const std::string& name : names) width = std::max(width, name.size() + 2);
  return width;
}

}  // namespace

std::string sweep_summary(const Table& summary) {
  const std::size_t budget = summary.column(results::kBudgetColumn);
  const std::vector<std::string> names = results::row_labels(summary);
  std::vector<std::string> budgets;
  for (std::size_t row = 0; row < summary.rows(); ++row) {
    const std::string current = summary.text(row, budget);
    if (std::ranges::find(budgets, current) == budgets.end()) budgets.push_back(current);
  }
  const std::vector<std::string> shown = results::spread(budgets, kMostBudgets);
  std::map<std::string, std::map<std::string, std::string>> cells;  // policy → budget → retained mass
  std::map<std::string, std::pair<double, int>> means;
  std::set<std::string> excessive;  // hold more than the others at some budget
  std::set<std::string> ceilings;
  for (std::size_t row = 0; row < summary.rows(); ++row) {
    cells[names[row]][summary.text(row, budget)] = number_text(summary, row, "retained_mass", "{:.4f}");
    if (summary.text(row, summary.column("role")) == results::role_name(results::Role::kCeiling)) {
      ceilings.insert(names[row]);
    }
    if (const auto mass = summary.number(row, summary.column("retained_mass"))) {
      if (!summary.number(row, summary.column("rank"))) excessive.insert(names[row]);
      means[names[row]].first += *mass;
      ++means[names[row]].second;
    }
  }
  std::vector<std::string> order;
  for (const auto& [name, own] : cells) order.push_back(name);
  const auto mean = [&](const std::string& name) {
    const auto& [sum, count] = means[name];
    return count == 0 ? 0.0 : sum / count;
  };
  // Those feasible at more budgets first: a mean over large budgets alone says less.
  std::ranges::stable_sort(order, [&](const std::string& a, const std::string& b) {
    return std::pair(means[a].second, mean(a)) > std::pair(means[b].second, mean(b));
  });
  const std::size_t all = order.size();
  if (all > kMostPolicies) {
    // Every combination of parts: what competes is of interest, not the many that read the future or hold more.
    std::size_t ceilings_shown = 0;
    std::erase_if(order, [&](const std::string& name) {
      return excessive.contains(name) || (ceilings.contains(name) && ++ceilings_shown > kMostCeilings);
    });
    order.resize(std::min(order.size(), kMostPolicies));
  }
  const std::size_t hidden = all - order.size();

  const std::size_t width = width_of(order);
  std::string text =
      "Retained attention mass by budget, mean over prompts; the last column is the mean over all budgets that the "
      "policy can serve\n\n";
  text += fmt::format("  {:<{}}", "policy", width);
  for (const std::string& name : shown) text += fmt::format("{:>9}", name);
  text += fmt::format("{:>9}\n", "mean");
  for (const std::string& name : order) {
    text += fmt::format("  {:<{}}", name, width);
    for (const std::string& at : shown) text += fmt::format("{:>9}", cells[name].contains(at) ? cells[name][at] : "-");
    text += fmt::format("{:>9.4f}{}\n", mean(name), excessive.contains(name) ? " *" : "");
  }
  if (!excessive.empty()) text += "  * holds more than the others at some of the budgets: not to be compared\n";
  if (hidden > 0) text += fmt::format("  ... and {} more in summary.csv\n", hidden);
  return text;
}

std::string headroom_summary(const Table& headroom) {
  const std::vector<std::string> names = results::row_labels(headroom);
  constexpr const char* kColumns[] = {"retained_mass", "scoring", "allocation", "allocation_bound", "both"};
  std::map<std::string, std::map<std::string, std::pair<double, int>>> sums;
  for (std::size_t row = 0; row < headroom.rows(); ++row) {
    for (const char* column : kColumns) {
      if (const auto value = headroom.number(row, headroom.column(column))) {
        sums[names[row]][column].first += *value;
        ++sums[names[row]][column].second;
      }
    }
  }
  const auto mean = [&](const std::string& name, const char* column) {
    const auto& [sum, count] = sums[name][column];
    return count == 0 ? std::string("-") : fmt::format("{:.4f}", sum / count);
  };
  std::vector<std::string> order;
  for (const auto& [name, own] : sums) order.push_back(name);
  std::ranges::stable_sort(order, [&](const std::string& a, const std::string& b) {
    return mean(a, "retained_mass") > mean(b, "retained_mass");
  });
  if (order.size() > kMostPolicies) order.resize(kMostPolicies);
  const std::size_t width = width_of(order);
  std::string text = fmt::format(
      "\nHeadroom: retained mass to be gained with the same slots, mean over prompts and budgets\n\n"
      "  {:<{}}{:>10}{:>10}{:>12}{:>14}{:>8}\n",
      "policy", width, "retained", "scoring", "allocation", "(at most)", "both");
  for (const std::string& name : order) {
    text += fmt::format("  {:<{}}{:>10}{:>10}{:>12}{:>14}{:>8}\n", name, width, mean(name, "retained_mass"),
                        mean(name, "scoring"), mean(name, "allocation"), mean(name, "allocation_bound"),
                        mean(name, "both"));
  }
  return text;
}

std::string tuning_summary(const Table& tuning) {
  if (tuning.rows() == 0) return "\nTuning: nothing to choose from: no candidate can serve all prompts\n";
  const std::vector<std::string> names = results::row_labels(tuning);
  std::string text = fmt::format(
      "\nHeld-out gain of tuning in retained mass, paired with the policy as given: parameters selected on one half of "
      "the prompts, everything else from the held-out half\n\n"
      "  {:>8}  {:>28}{:>9}{:>9}{:>9}  {}\n",
      "budget", "gain (95 % interval)", "tuned", "given", "prompts", "selected");
  for (std::size_t row = 0; row < tuning.rows(); ++row) {
    text += fmt::format(
        "  {:>8}  {:>28}{:>9}{:>9}{:>9}  {}\n", tuning.text(row, tuning.column(results::kBudgetColumn)),
        fmt::format("{} [{}, {}]", number_text(tuning, row, "gain", "{:+.4f}"),
                    number_text(tuning, row, "gain_low", "{:+.4f}"), number_text(tuning, row, "gain_high", "{:+.4f}")),
        number_text(tuning, row, "retained_mass", "{:.4f}"), number_text(tuning, row, "given_retained_mass", "{:.4f}"),
        tuning.text(row, tuning.column("prompts")), names[row]);
  }
  return text;
}

}  // namespace evictlab::cli
