#include "cli/sweep_summary.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "cli/number_text.hpp"
#include "cli/replay_summary.hpp"
#include "results/equal_slots.hpp"
#include "results/labels.hpp"
#include "results/leading.hpp"
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
  const results::Measure measure = ranked_by(summary).value_or(results::Measure::kRetainedMass);
  const std::vector<std::string> shown = results::spread(budgets, kMostBudgets);
  std::map<std::string, std::map<std::string, std::string>> cells;  // policy → budget → what ranks
  std::map<std::string, std::pair<double, int>> means;              // over the budgets at which a policy is compared
  std::set<std::string> uncompared;                                 // at some budget
  bool between = false;                                             // something is compared between its budgets
  std::set<std::string> ceilings;
  for (std::size_t row = 0; row < summary.rows(); ++row) {
    std::string& cell = cells[names[row]][summary.text(row, budget)];
    cell = number_text(summary, row, "compared", results::is_share(measure) ? "{:.4f}" : "{:.4g}");
    if (summary.text(row, summary.column("role")) == results::role_name(results::Role::kCeiling)) {
      ceilings.insert(names[row]);
    }
    const auto mass = summary.number(row, summary.column("compared"));
    if (!mass) continue;
    if (!summary.number(row, summary.column("rank"))) {
      uncompared.insert(names[row]);
      cell += "*";
      continue;
    }
    between = between || !results::equal_slots(*summary.number(row, summary.column("slots_held")),
                                               *summary.number(row, summary.column("slots_compared")));
    means[names[row]].first += *mass;
    ++means[names[row]].second;
  }
  std::vector<std::string> order;
  for (const auto& [name, own] : cells) order.push_back(name);
  const auto mean = [&](const std::string& name) {
    const auto& [sum, count] = means[name];
    return count == 0 ? 0.0 : sum / count;
  };
  // Those feasible at more budgets first: a mean over large budgets alone says less.
  std::ranges::stable_sort(order, {}, [&](const std::string& name) {
    return std::pair(-means[name].second, results::as_loss(measure, mean(name)));
  });
  const std::size_t all = order.size();
  if (all > kMostPolicies) {
    // Every combination of parts: what competes is of interest, not the many that read the future or hold other slots.
    std::size_t ceilings_shown = 0;
    std::erase_if(order, [&](const std::string& name) {
      return uncompared.contains(name) || (ceilings.contains(name) && ++ceilings_shown > kMostCeilings);
    });
    order.resize(std::min(order.size(), kMostPolicies));
  }
  const std::size_t hidden = all - order.size();

  const std::size_t width = width_of(order);
  std::string text = fmt::format(
      "{} by budget, with equally many slots held, mean over prompts; the last column is the mean over all budgets at "
      "which the policy is compared\n{}\n",
      measure == results::Measure::kRetainedMass  ? "Retained attention mass"
      : measure == results::Measure::kPredictedKl ? "KL divergence foretold, in nats,"
                                                  : "Squared error of the attention outputs",
      results::leading_note(measure).empty() ? "" : results::leading_note(measure) + "\n");
  text += fmt::format("  {:<{}}", "policy", width);
  for (const std::string& name : shown) text += fmt::format("{:>9}", name);
  text += fmt::format("{:>9}\n", "mean");
  for (const std::string& name : order) {
    text += fmt::format("  {:<{}}", name, width);
    for (const std::string& at : shown) text += fmt::format("{:>9}", cells[name].contains(at) ? cells[name][at] : "-");
    text += fmt::format("{:>9}\n",
                        means[name].second == 0
                            ? "-"
                            : fmt::format(fmt::runtime(results::is_share(measure) ? "{:.4f}" : "{:.4g}"), mean(name)));
  }
  if (between) text += "  policies that hold other slots at a budget than the others are read between their budgets\n";
  if (!uncompared.empty())
    text += "  * with the slots that it holds: not compared, for none of its budgets are about what the others hold\n";
  if (hidden > 0) text += fmt::format("  ... and {} more in summary.csv\n", hidden);
  return text;
}

std::string headroom_summary(const Table& headroom) {
  const std::vector<std::string> names = results::row_labels(headroom);
  constexpr const char* kColumns[] = {"slots_held", "retained_mass",    "scoring",
                                      "allocation", "allocation_bound", "both"};
  std::map<std::string, std::map<std::string, std::pair<double, int>>> sums;
  for (std::size_t row = 0; row < headroom.rows(); ++row) {
    for (const char* column : kColumns) {
      if (const auto value = headroom.number(row, headroom.column(column))) {
        sums[names[row]][column].first += *value;
        ++sums[names[row]][column].second;
      }
    }
  }
  const auto mean = [&](const std::string& name, const char* column, const char* format = "{:.4f}") {
    const auto& [sum, count] = sums[name][column];
    return count == 0 ? std::string("-") : fmt::format(fmt::runtime(format), sum / count);
  };
  std::vector<std::string> order;
  for (const auto& [name, own] : sums) order.push_back(name);
  // What is retained depends on the slots; what could be gained with the same does not, and can be ranked.
  std::ranges::stable_sort(order, {}, [&](const std::string& name) {
    const auto& [sum, count] = sums[name]["both"];
    return count == 0 ? std::numeric_limits<double>::infinity() : sum / count;
  });
  if (order.size() > kMostPolicies) order.resize(kMostPolicies);
  const std::size_t width = width_of(order);
  std::string text = fmt::format(
      "\nHeadroom: retained mass to be gained with the slots that a policy holds, mean over prompts and budgets, least "
      "first\n\n"
      "  {:<{}}{:>9}{:>10}{:>10}{:>12}{:>14}{:>8}\n",
      "policy", width, "slots", "retained", "scoring", "allocation", "(at most)", "both");
  for (const std::string& name : order) {
    text += fmt::format("  {:<{}}{:>9}{:>10}{:>10}{:>12}{:>14}{:>8}\n", name, width, mean(name, "slots_held", "{:.1f}"),
                        mean(name, "retained_mass"), mean(name, "scoring"), mean(name, "allocation"),
                        mean(name, "allocation_bound"), mean(name, "both"));
  }
  return text;
}

std::string tuning_summary(const Table& tuning) {
  if (tuning.rows() == 0) return "\nTuning: nothing to choose from: no candidate can serve all prompts\n";
  const std::vector<std::string> names = results::row_labels(tuning);
  std::string text = fmt::format(
      "\nHeld-out gain of tuning in retained mass with equally many slots, paired with the policy as given: parameters "
      "selected on one half of the prompts, everything else from the held-out half\n\n"
      "  {:>8}  {:>28}{:>9}{:>9}{:>9}  {}\n",
      "budget", "gain (95 % interval)", "tuned", "given", "prompts", "selected");
  for (std::size_t row = 0; row < tuning.rows(); ++row) {
    text +=
        fmt::format("  {:>8}  {:>28}{:>9}{:>9}{:>9}  {}\n", tuning.text(row, tuning.column(results::kBudgetColumn)),
                    interval_text(tuning, row, "gain", "{:+.4f}"), number_text(tuning, row, "retained_mass", "{:.4f}"),
                    number_text(tuning, row, "given_retained_mass", "{:.4f}"),
                    tuning.text(row, tuning.column("prompts")), names[row]);
  }
  return text;
}

}  // namespace evictlab::cli
