#include "plots/report/answer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "plots/series.hpp"

namespace evictlab::plots {
namespace {

struct Entry {
  std::string policy = {};
  std::string label = {};
  std::map<std::string, double> by_prompt = {};  // retained mass
  double slots = 0;
  std::vector<double> values() const {
    std::vector<double> all;
    for (const auto& [prompt, mass] : by_prompt) all.push_back(mass);
    return all;
  }
};
using ByBudget = std::map<double, std::map<PolicyKey, Entry>>;

/// Whether a budget was asked for in slots, not as a ratio or in bytes: only those have one place on a scale.
bool is_slots(const std::string& budget) {
  return !budget.empty() && budget.find_first_not_of("0123456789") == std::string::npos;
}

ByBudget gather(const results::Table& replay) {
  std::map<PolicyKey, std::string> labels;
  for (const Series& series : series_of(replay)) labels[series.key] = series.label;
  const std::size_t prompt = replay.column("prompt");
  const std::size_t policy = replay.column("policy");
  const std::size_t parameters = replay.column("parameters");
  const std::size_t budget = replay.column("budget_requested");
  const std::size_t slots = replay.column("slots_held");
  const std::size_t layer = replay.column("layer");
  const std::size_t retained = replay.column("retained_mass");
  ByBudget measured;
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    if (replay.text(row, layer) != "all" || !is_slots(replay.text(row, budget))) continue;
    const auto requested = replay.number(row, budget);
    const auto mass = replay.number(row, retained);
    if (!requested || !mass) continue;
    const PolicyKey key{replay.text(row, policy), replay.text(row, parameters)};
    Entry& entry = measured[*requested][key];
    entry.policy = key.policy;
    entry.label = labels[key];
    entry.by_prompt[replay.text(row, prompt)] = *mass;
    entry.slots += replay.number(row, slots).value_or(0);
  }
  return measured;
}

bool is_control(const Entry& entry) { return entry.policy == "random" || entry.policy == "protect-only"; }
bool competes(const Entry& entry) { return !is_control(entry) && entry.policy != "oracle" && entry.policy != "full"; }

/// Those measured on all `prompts` prompts, best first; equal ones by label.
std::vector<Entry> ranked(const std::map<PolicyKey, Entry>& entries, std::size_t prompts) {
  std::vector<Entry> all;
  for (const auto& [key, entry] : entries) {
    if (entry.by_prompt.size() == prompts) all.push_back(entry);
  }
  std::ranges::sort(all, [](const Entry& a, const Entry& b) {
    const double mass_a = results::mean(a.values());
    const double mass_b = results::mean(b.values());
    return mass_a != mass_b ? mass_a > mass_b : a.label < b.label;
  });
  return all;
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }
std::string points(const results::Interval& value) {
  return fmt::format("{:.1f} points (95 % interval {:.1f} to {:.1f})", 100 * value.mean, 100 * value.low,
                     100 * value.high);
}

}  // namespace

std::vector<BudgetAnswer> budget_answers(const results::Table& replay) {
  std::vector<BudgetAnswer> answers;
  for (const auto& [budget, entries] : gather(replay)) {
    std::set<std::string> prompts;
    for (const auto& [key, entry] : entries) {
      for (const auto& [id, mass] : entry.by_prompt) prompts.insert(id);
    }
    const std::vector<Entry> all = ranked(entries, prompts.size());
    const auto best = std::ranges::find_if(all, competes);
    if (best == all.end()) continue;
    const std::vector<double> values = best->values();
    BudgetAnswer answer{.budget = budget, .prompts = prompts.size()};
    for (const Entry& entry : all) {
      if (!competes(entry)) continue;
      answer.contenders.push_back({entry.label, entry.slots / static_cast<double>(prompts.size()),
                                   results::bootstrap_mean(entry.values()),
                                   results::bootstrap_paired_difference(values, entry.values())});
    }
    if (const auto control = std::ranges::find_if(all, is_control); control != all.end()) {
      answer.control = control->label;
      answer.over_control = results::bootstrap_paired_difference(values, control->values());
    }
    const auto oracle = std::ranges::find(all, "oracle", &Entry::policy);
    if (oracle != all.end()) {
      answer.has_oracle = true;
      answer.below_oracle = results::bootstrap_paired_difference(oracle->values(), values);
    }
    answers.push_back(std::move(answer));
  }
  return answers;
}

std::string sentence(const BudgetAnswer& answer) {
  const Contender& best = answer.contenders.front();
  std::string text = fmt::format("At {:g} slots, {} keeps {} of the attention (95 % interval {} to {}; {} prompts)",
                                 answer.budget, best.label, percent(best.retained.mean), percent(best.retained.low),
                                 percent(best.retained.high), answer.prompts);
  if (answer.has_oracle) text += fmt::format(", {} below the oracle", points(answer.below_oracle));
  text += ".";
  if (answer.contenders.size() > 1) {
    const Contender& second = answer.contenders[1];
    text += second.behind.low > 0 ? fmt::format(" It leads {} by {}.", second.label, points(second.behind))
                                  : fmt::format(" It does not differ from {} within the paired interval: {}.",
                                                second.label, points(second.behind));
  }
  if (!answer.control.empty() && answer.over_control.low <= 0) {
    text += fmt::format(" The control {} is as good: {}.", answer.control, points(answer.over_control));
  }
  return text;
}

}  // namespace evictlab::plots
