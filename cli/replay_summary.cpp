#include "cli/replay_summary.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/number_text.hpp"
#include "results/labels.hpp"

namespace evictlab::cli {
namespace {

using results::Table;

/// "+0.112 [+0.090, +0.134]", or "-" where there is nothing to compare.
std::string difference(const Table& table, std::size_t row, const std::string& column) {
  const auto value = table.number(row, table.column(column));
  const auto low = table.number(row, table.column(column + "_low"));
  const auto high = table.number(row, table.column(column + "_high"));
  if (!value || !low || !high) return "-";
  return fmt::format("{:+.3f} [{:+.3f}, {:+.3f}]", *value, *low, *high);
}

/// Why a policy is not ranked, or on how many prompts it could not be.
std::string remark(const Table& summary, std::size_t row) {
  const std::string infeasible = number_text(summary, row, "infeasible", "{:.0f}");
  std::string text;
  if (infeasible != "0" && infeasible != "-") text = ", budget below protection on " + infeasible;
  const bool held = summary.number(row, summary.column("slots_held")).has_value();
  if (held && !summary.number(row, summary.column("rank"))) text += ", not ranked: holds more than the others";
  return text;
}

}  // namespace

std::string replay_summary(const Table& summary) {
  const std::size_t budget = summary.column(results::kBudgetColumn);
  const std::vector<std::string> names = results::row_labels(summary);
  std::size_t width = 8;
  for (const std::string& name : names) width = std::max(width, name.size() + 1);

  std::string text =
      "Retained attention mass, mean over prompts; differences are paired, with 95 % bootstrap intervals over "
      "prompts.\n";
  std::string block;
  for (std::size_t row = 0; row < summary.rows(); ++row) {
    const std::string current = summary.text(row, budget);
    if (row == 0 || current != block) {
      block = current;
      text += fmt::format("\nbudget {}\n  {:>2}  {:<{}}{:>7}{:>9}{:>9}{:>9}   {:<26}{:<26}{}\n", block, "#", "policy",
                          width, "slots", "retained", "regret", "loss", "to the best", "to random", "prompts");
    }
    text += fmt::format(
        "  {:>2}  {:<{}}{:>7}{:>9}{:>9}{:>9}   {:<26}{:<26}{}\n", number_text(summary, row, "rank", "{:.0f}"),
        names[row], width, number_text(summary, row, "slots_held", "{:.1f}"),
        number_text(summary, row, "retained_mass", "{:.4f}"), number_text(summary, row, "regret", "{:.4f}"),
        number_text(summary, row, "relative_loss", "{:.4f}"), difference(summary, row, "to_best"),
        difference(summary, row, "to_random"), number_text(summary, row, "prompts", "{:.0f}") + remark(summary, row));
  }
  return text;
}

std::string constraints_summary(const Table& costs) {
  if (costs.rows() == 0) return "";
  const std::vector<std::string> names = results::row_labels(costs);
  std::size_t width = 8;
  for (const std::string& name : names) width = std::max(width, name.size() + 1);
  std::string text = fmt::format("\nWhat {} costs: retained mass under it less without it, paired\n",
                                 costs.text(0, costs.column("constraint")));
  text +=
      fmt::format("  {:>8}  {:<{}}{:>9}{:>13}   {}\n", "budget", "policy", width, "free", "constrained", "difference");
  for (std::size_t row = 0; row < costs.rows(); ++row) {
    text += fmt::format(
        "  {:>8}  {:<{}}{:>9}{:>13}   {}\n", costs.text(row, costs.column(results::kBudgetColumn)),
        costs.text(row, costs.column("policy")), width, number_text(costs, row, "retained_mass", "{:.4f}"),
        number_text(costs, row, "constrained_retained_mass", "{:.4f}"), difference(costs, row, "difference"));
  }
  return text;
}

}  // namespace evictlab::cli
