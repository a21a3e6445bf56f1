#include "results/answer.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "results/labels.hpp"
#include "results/run_table.hpp"

namespace evictlab::results {
namespace {

/// A policy measured on every prompt: its retained mass by prompt, in the order of their names.
struct CompetingPolicy {
  std::string label;
  Role role = Role::kMethod;
  double slots = 0;
  std::vector<double> retained;
};

/// Best first; equal ones by label.
std::vector<CompetingPolicy> ranked_policies(const BudgetRuns& budget, const std::map<PolicyKey, std::string>& labels,
                                             std::size_t prompts) {
  std::vector<CompetingPolicy> ranked;
  for (const PolicyRuns& policy : budget.policies) {
    std::vector<double> retained = values_of(policy.values(Measure::kRetainedMass));
    if (retained.size() != prompts) continue;
    ranked.push_back({labels.at(policy.key), policy.role, policy.mean_slots(), std::move(retained)});
  }
  std::ranges::sort(ranked, [](const CompetingPolicy& a, const CompetingPolicy& b) {
    const double mass_a = mean(a.retained);
    const double mass_b = mean(b.retained);
    return mass_a != mass_b ? mass_a > mass_b : a.label < b.label;
  });
  return ranked;
}

/// Whether any attention is lost. The full cache loses none, so it says nothing about a choice of positions.
bool evicts(const CompetingPolicy& policy) { return mean(policy.retained) < 1 - 1e-9; }

std::optional<BudgetAnswer> answer_at(const BudgetRuns& budget, const std::map<PolicyKey, std::string>& labels) {
  std::set<std::string> prompts;
  for (const PolicyRuns& policy : budget.policies) {
    for (const auto& [prompt, mass] : policy.values(Measure::kRetainedMass)) prompts.insert(prompt);
  }
  const std::vector<CompetingPolicy> ranked = ranked_policies(budget, labels, prompts.size());
  const auto best = std::ranges::find(ranked, Role::kMethod, &CompetingPolicy::role);
  if (best == ranked.end()) return std::nullopt;
  BudgetAnswer answer{.budget = budget.budget_text, .prompts = prompts.size()};
  for (const CompetingPolicy& policy : ranked) {
    if (policy.role != Role::kMethod) continue;
    answer.contenders.push_back({policy.label, policy.slots, bootstrap_mean(policy.retained),
                                 bootstrap_paired_difference(best->retained, policy.retained)});
  }
  if (const auto control = std::ranges::find(ranked, Role::kControl, &CompetingPolicy::role); control != ranked.end()) {
    answer.control = control->label;
    answer.over_control = bootstrap_paired_difference(best->retained, control->retained);
  }
  const auto ceiling = std::ranges::find_if(
      ranked, [](const CompetingPolicy& policy) { return policy.role == Role::kCeiling && evicts(policy); });
  if (ceiling != ranked.end()) {
    answer.ceiling = ceiling->label;
    answer.below_ceiling = bootstrap_paired_difference(ceiling->retained, best->retained);
  }
  return answer;
}

}  // namespace

std::vector<BudgetAnswer> budget_answers(const Table& replay) {
  require_columns(replay, {"slots_held", info(Measure::kRetainedMass).column});
  const auto labels = policy_labels(policies_of(replay));
  std::vector<BudgetAnswer> answers;
  for (const BudgetRuns& budget : by_budget(runs_over_layers(replay))) {
    if (auto answer = answer_at(budget, labels)) answers.push_back(std::move(*answer));
  }
  std::ranges::stable_sort(answers, {}, [](const BudgetAnswer& answer) { return answer.contenders.front().slots; });
  return answers;
}

}  // namespace evictlab::results
