#include "cli/replay_summary.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cli/number_text.hpp"
#include "results/equal_slots.hpp"
#include "results/labels.hpp"
#include "results/leading.hpp"

namespace evictlab::cli {
namespace {

using results::Table;

/// "+0.112 [+0.090, +0.134]", or "-" where there is nothing to compare. Squared errors are of any size.
std::string difference(const Table& table, std::size_t row, const std::string& column) {
  const bool any_size = table.find_column("ranked_by") && table.text(row, table.column("ranked_by")) == "squared_error";
  return interval_text(table, row, column, any_size ? "{:+.3g}" : "{:+.3f}");
}

/// At which slots a policy is compared or why it is not, and on how many prompts it cannot be.
std::string remark(const Table& summary, std::size_t row) {
  std::string text;
  for (const auto& [column, words] : {std::pair("infeasible", ", budget below protection on "),
                                      std::pair("too_short", ", prompt below window on ")}) {
    const std::string prompts = number_text(summary, row, column, "{:.0f}");
    if (prompts != "0" && prompts != "-") text += words + prompts;
  }
  const auto held = summary.number(row, summary.column("slots_held"));
  const auto at = summary.number(row, summary.column("slots_compared"));
  if (!held || !at) return text;
  if (!summary.number(row, summary.column("rank"))) {
    const bool compared =
        summary.number(row, summary.column("to_best")) || summary.number(row, summary.column("to_random"));
    return text + ", not ranked: no budgets about what others hold" +
           (compared ? "; differences with its own slots" : "");
  }
  if (!results::equal_slots(*held, *at)) {
    text += fmt::format(", compared at {:.1f} slots: {}", *at, number_text(summary, row, "compared", "{:.4f}"));
  }
  return text;
}

}  // namespace

std::optional<results::Measure> ranked_by(const Table& summary) {
  for (std::size_t row = 0; row < summary.rows(); ++row) {
    if (const auto measure = results::measure_of(summary.text(row, summary.column("ranked_by")))) return measure;
  }
  return std::nullopt;
}

std::string replay_summary(const Table& summary) {
  const std::size_t budget = summary.column(results::kBudgetColumn);
  const std::vector<std::string> names = results::row_labels(summary);
  std::size_t width = 8;
  for (const std::string& name : names) width = std::max(width, name.size() + 1);

  const std::optional<results::Measure> leading = ranked_by(summary);
  const results::Measure measure = leading.value_or(results::Measure::kRetainedMass);
  const bool by_mass = measure == results::Measure::kRetainedMass;
  const bool foretold = measure == results::Measure::kPredictedKl;
  bool intervals = false;
  for (std::size_t row = 0; row < summary.rows(); ++row) {
    intervals = intervals || summary.number(row, summary.column("retained_mass_low"));
  }
  std::string text = fmt::format("{}, {}; differences are at equal held slots{}.\n",
                                 by_mass    ? "Retained attention mass"
                                 : foretold ? "KL divergence foretold, in nats, with 90 % prediction intervals"
                                            : "Squared error of the attention outputs",
                                 intervals ? "mean over prompts" : "one prompt",
                                 intervals ? " and paired, with 95 % bootstrap intervals over prompts" : "");
  if (const std::string note = results::leading_note(measure); !note.empty()) text += note + "\n";
  const auto lead = [&](std::size_t row) {
    if (by_mass) return std::string();
    const std::string cell = foretold ? interval_text(summary, row, "predicted_kl", "{:.3f}")
                                      : number_text(summary, row, results::info(measure).column, "{:.4g}");
    return fmt::format("{:>{}}", cell, foretold ? 23 : 11);
  };
  const std::string lead_heading =
      by_mass ? std::string() : fmt::format("{:>{}}", foretold ? "predicted KL" : "sq. error", foretold ? 23 : 11);
  std::string block;
  for (std::size_t row = 0; row < summary.rows(); ++row) {
    const std::string current = summary.text(row, budget);
    if (row == 0 || current != block) {
      block = current;
      text += fmt::format("\nbudget {}\n  {:>2}  {:<{}}{:>7}{}{:>9}{:>9}{:>9}   {:<26}{:<26}{}\n", block, "#", "policy",
                          width, "slots", lead_heading, "retained", "regret", "loss", "to the best", "to random",
                          "prompts");
    }
    text += fmt::format(
        "  {:>2}  {:<{}}{:>7}{}{:>9}{:>9}{:>9}   {:<26}{:<26}{}\n", number_text(summary, row, "rank", "{:.0f}"),
        names[row], width, number_text(summary, row, "slots_held", "{:.1f}"), lead(row),
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
  std::string text = fmt::format(
      "\nWhat {} costs: retained mass under it less without it, with equally many slots (-: unknown, for "
      "lack of budgets about what is held), paired\n",
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
