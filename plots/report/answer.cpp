#include "plots/report/answer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>

namespace evictlab::plots {
namespace {

struct Sum {
  double total = 0;
  double layers = 0;
};
// Budget -> policy -> prompt -> retained mass summed over layers.
using Measured = std::map<double, std::map<std::string, std::map<std::string, Sum>>>;

Measured gather(const analysis::Table& replay) {
  const std::size_t prompt = replay.column("prompt");
  const std::size_t policy = replay.column("policy");
  const std::size_t parameters = replay.column("parameters");
  const std::size_t budget = replay.column("budget_requested");
  const std::size_t retained = replay.column("retained_mass");
  Measured measured;
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    const std::optional<double> slots = replay.number(row, budget);
    const std::optional<double> mass = replay.number(row, retained);
    if (!slots || !mass) continue;
    const std::string given = replay.text(row, parameters);
    std::string name = replay.text(row, policy);
    if (!given.empty()) name += "(" + given + ")";
    Sum& sum = measured[*slots][name][replay.text(row, prompt)];
    sum.total += *mass;
    sum.layers += 1;
  }
  return measured;
}

bool is(const std::string& policy, const std::string& name) { return policy == name || policy.starts_with(name + "("); }
bool is_control(const std::string& policy) { return is(policy, "random") || is(policy, "protect-only"); }
bool competes(const std::string& policy) { return !is_control(policy) && !is(policy, "oracle") && !is(policy, "full"); }

struct Entry {
  std::string policy = {};
  std::vector<double> values = {};  // one per prompt, in the order of their ids
  double mean = 0;
};

// The policies that were measured on all `prompts` prompts, best first; equal ones by name.
std::vector<Entry> ranked(const std::map<std::string, std::map<std::string, Sum>>& policies, std::size_t prompts) {
  std::vector<Entry> entries;
  for (const auto& [policy, values] : policies) {
    if (values.size() != prompts) continue;
    Entry entry{.policy = policy};
    for (const auto& [id, sum] : values) entry.values.push_back(sum.total / sum.layers);
    entry.mean = analysis::mean(entry.values);
    entries.push_back(std::move(entry));
  }
  std::ranges::stable_sort(entries, std::ranges::greater{}, &Entry::mean);
  return entries;
}

const Entry* first(std::span<const Entry> entries, auto accepts) {
  const auto found = std::ranges::find_if(entries, [&](const Entry& entry) { return accepts(entry.policy); });
  return found == entries.end() ? nullptr : &*found;
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }
std::string points(const analysis::Interval& value) {
  return fmt::format("{:.1f} points (95 % interval {:.1f} to {:.1f})", 100 * value.mean, 100 * value.low,
                     100 * value.high);
}

}  // namespace

std::vector<BudgetAnswer> budget_answers(const analysis::Table& replay) {
  const Measured measured = gather(replay);
  std::vector<BudgetAnswer> answers;
  for (const auto& [budget, policies] : measured) {
    std::set<std::string> prompts;
    for (const auto& [policy, values] : policies) {
      for (const auto& [id, sum] : values) prompts.insert(id);
    }
    const std::vector<Entry> entries = ranked(policies, prompts.size());
    const Entry* best = first(entries, competes);
    if (!best) continue;
    BudgetAnswer answer{.budget = budget, .prompts = prompts.size(), .best = best->policy};
    answer.retained = analysis::bootstrap_mean(best->values);
    if (const Entry* second = first(std::span(best + 1, entries.data() + entries.size()), competes)) {
      answer.second = second->policy;
      answer.lead = analysis::bootstrap_paired_difference(best->values, second->values);
    }
    if (const Entry* control = first(entries, is_control)) {
      answer.control = control->policy;
      answer.over_control = analysis::bootstrap_paired_difference(best->values, control->values);
    }
    if (const Entry* oracle = first(entries, [](const std::string& policy) { return is(policy, "oracle"); })) {
      answer.has_oracle = true;
      answer.below_oracle = analysis::bootstrap_paired_difference(oracle->values, best->values);
    }
    answers.push_back(std::move(answer));
  }
  return answers;
}

std::string sentence(const BudgetAnswer& answer) {
  std::string text = fmt::format("At {:g} slots, {} keeps {} of the attention (95 % interval {} to {}; {} prompts)",
                                 answer.budget, answer.best, percent(answer.retained.mean),
                                 percent(answer.retained.low), percent(answer.retained.high), answer.prompts);
  if (answer.has_oracle) text += fmt::format(", {} below the oracle", points(answer.below_oracle));
  text += ".";
  if (!answer.second.empty()) {
    text += answer.lead.low > 0 ? fmt::format(" It leads {} by {}.", answer.second, points(answer.lead))
                                : fmt::format(" It does not differ from {} within the paired interval: {}.",
                                              answer.second, points(answer.lead));
  }
  if (!answer.control.empty() && answer.over_control.low <= 0) {
    text += fmt::format(" The control {} is as good: {}.", answer.control, points(answer.over_control));
  }
  return text;
}

}  // namespace evictlab::plots
