#include "cli/replay_summary.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "sim/policy_spec.hpp"

namespace evictlab::cli {
namespace {

using analysis::Table;

std::string number(const Table& table, std::size_t row, const char* column, const char* format) {
  const auto value = table.number(row, table.column(column));
  return value ? fmt::format(fmt::runtime(format), *value) : std::string("-");
}

/// "+0.112 [+0.090, +0.134]", or "-" where there is nothing to compare.
std::string difference(const Table& table, std::size_t row, const std::string& column) {
  const auto value = table.number(row, table.column(column));
  const auto low = table.number(row, table.column(column + "_low"));
  const auto high = table.number(row, table.column(column + "_high"));
  if (!value || !low || !high) return "-";
  return fmt::format("{:+.3f} [{:+.3f}, {:+.3f}]", *value, *low, *high);
}

std::vector<std::string> parameters_of(const Table& table, std::size_t row) {
  const std::string text = table.text(row, table.column("parameters"));
  return text.empty() ? std::vector<std::string>() : sim::split_list(text, "parameters");
}

/// Of a policy's runs: what each was given.
using Runs = std::map<std::string, std::vector<std::string>>;  // parameters as written → split

/// What tells a policy's runs apart: parameters with more than one value. Where that is not enough, because a parameter
/// is there or not, also those that some runs lack.
std::map<std::string, std::string> distinctions(const Runs& runs) {
  std::map<std::string, std::set<std::string>> values;  // by key
  std::map<std::string, std::size_t> uses;              // by "key=value"
  const auto key_of = [](const std::string& parameter) { return parameter.substr(0, parameter.find('=')); };
  for (const auto& [run, parameters] : runs) {
    for (const std::string& parameter : parameters) {
      values[key_of(parameter)].insert(parameter);
      ++uses[parameter];
    }
  }
  std::map<std::string, std::string> texts;
  for (const bool brief : {true, false}) {
    std::set<std::string> different;
    for (const auto& [run, parameters] : runs) {
      std::vector<std::string> telling;
      std::ranges::copy_if(parameters, std::back_inserter(telling), [&](const std::string& parameter) {
        return brief ? values[key_of(parameter)].size() > 1 : uses[parameter] < runs.size();
      });
      texts[run] = fmt::format("{}", fmt::join(telling, ","));
      different.insert(texts[run]);
    }
    if (different.size() == runs.size()) break;
  }
  return texts;
}

/// Every row's policy: "snapkv", and where the same one is there with other parameters what tells them apart,
/// "snapkv(window=16)".
std::vector<std::string> labels(const Table& table) {
  const std::size_t policy = table.column("policy");
  const std::size_t parameters = table.column("parameters");
  std::map<std::string, Runs> runs;
  for (std::size_t row = 0; row < table.rows(); ++row) {
    runs[table.text(row, policy)][table.text(row, parameters)] = parameters_of(table, row);
  }
  std::map<std::string, std::map<std::string, std::string>> told;
  for (const auto& [name, own] : runs) told[name] = distinctions(own);
  std::vector<std::string> texts;
  for (std::size_t row = 0; row < table.rows(); ++row) {
    const std::string name = table.text(row, policy);
    const std::string& telling = told[name][table.text(row, parameters)];
    texts.push_back(telling.empty() ? name : fmt::format("{}({})", name, telling));
  }
  return texts;
}

/// Why a policy is not ranked, or on how many prompts it could not be.
std::string remark(const Table& summary, std::size_t row) {
  const std::string infeasible = number(summary, row, "infeasible", "{:.0f}");
  std::string text;
  if (infeasible != "0" && infeasible != "-") text = ", budget below protection on " + infeasible;
  const bool held = summary.number(row, summary.column("slots_held")).has_value();
  if (held && !summary.number(row, summary.column("rank"))) text += ", not ranked: holds more than the others";
  return text;
}

}  // namespace

std::string replay_summary(const Table& summary) {
  const std::size_t budget = summary.column("budget_requested");
  const std::vector<std::string> names = labels(summary);
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
    text += fmt::format("  {:>2}  {:<{}}{:>7}{:>9}{:>9}{:>9}   {:<26}{:<26}{}\n",
                        number(summary, row, "rank", "{:.0f}"), names[row], width,
                        number(summary, row, "slots_held", "{:.1f}"), number(summary, row, "retained_mass", "{:.4f}"),
                        number(summary, row, "regret", "{:.4f}"), number(summary, row, "relative_loss", "{:.4f}"),
                        difference(summary, row, "to_best"), difference(summary, row, "to_random"),
                        number(summary, row, "prompts", "{:.0f}") + remark(summary, row));
  }
  return text;
}

std::string constraints_summary(const Table& costs) {
  if (costs.rows() == 0) return "";
  const std::vector<std::string> names = labels(costs);
  std::size_t width = 8;
  for (const std::string& name : names) width = std::max(width, name.size() + 1);
  std::string text = fmt::format("\nWhat {} costs: retained mass under it less without it, paired\n",
                                 costs.text(0, costs.column("constraint")));
  text +=
      fmt::format("  {:>8}  {:<{}}{:>9}{:>13}   {}\n", "budget", "policy", width, "free", "constrained", "difference");
  for (std::size_t row = 0; row < costs.rows(); ++row) {
    text +=
        fmt::format("  {:>8}  {:<{}}{:>9}{:>13}   {}\n", costs.text(row, costs.column("budget_requested")),
                    costs.text(row, costs.column("policy")), width, number(costs, row, "retained_mass", "{:.4f}"),
                    number(costs, row, "constrained_retained_mass", "{:.4f}"), difference(costs, row, "difference"));
  }
  return text;
}

}  // namespace evictlab::cli
