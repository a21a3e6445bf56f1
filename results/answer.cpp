#include "results/answer.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "results/equal_slots.hpp"
#include "results/labels.hpp"
#include "results/run_table.hpp"

namespace evictlab::results {
namespace {

/// A policy measured on every prompt: its retained mass with the slots compared, in the order of the prompts' names.
struct CompetingPolicy {
  std::string label;
  Role role = Role::kMethod;
  double held = 0;
  std::vector<double> retained;
};

/// The policies at one budget.
struct Competition {
  double slots = 0;  // compared, mean over prompts
  std::size_t prompts = 0;
  std::vector<CompetingPolicy> ranked;  // best first; equal ones by label
  std::vector<LeftOut> left_out;        // methods, by label
};

Competition competition_at(const BudgetRuns& budget, const std::map<PolicyKey, std::string>& labels,
                           const SlotCurves& curves) {
  PromptSlots prompts;
  for (const PolicyRuns& policy : budget.policies) {
    for (const Run& run : policy.runs) {
      if (run[Measure::kRetainedMass]) prompts[run.prompt] = 0.0;
    }
  }
  const auto slots = curves.compared_on(budget.budget_text, prompts);
  Competition competition;
  competition.prompts = prompts.size();
  if (!slots) return competition;
  competition.slots = mean(values_of(*slots));
  for (const PolicyRuns& policy : budget.policies) {
    if (policy.values(Measure::kRetainedMass).size() != prompts.size()) continue;
    const auto retained = curves.values(policy.key, budget.budget_text, *slots,
                                        [](const Run& run) { return run[Measure::kRetainedMass]; });
    if (retained) {
      competition.ranked.push_back({labels.at(policy.key), policy.role, policy.mean_slots(), values_of(*retained)});
    } else if (policy.role == Role::kMethod) {
      competition.left_out.push_back({labels.at(policy.key), policy.mean_slots()});
    }
  }
  std::ranges::sort(competition.ranked, [](const CompetingPolicy& a, const CompetingPolicy& b) {
    const double mass_a = mean(a.retained);
    const double mass_b = mean(b.retained);
    return mass_a != mass_b ? mass_a > mass_b : a.label < b.label;
  });
  std::ranges::sort(competition.left_out, {}, &LeftOut::label);
  return competition;
}

/// Whether any attention is lost. The full cache loses none, so it says nothing about a choice of positions.
bool evicts(const CompetingPolicy& policy) { return mean(policy.retained) < 1 - 1e-9; }

std::optional<BudgetAnswer> answer_at(const BudgetRuns& budget, const std::map<PolicyKey, std::string>& labels,
                                      const SlotCurves& curves) {
  const Competition competition = competition_at(budget, labels, curves);
  const std::vector<CompetingPolicy>& ranked = competition.ranked;
  const auto best = std::ranges::find(ranked, Role::kMethod, &CompetingPolicy::role);
  if (best == ranked.end()) return std::nullopt;
  BudgetAnswer answer{.budget = budget.budget_text,
                      .prompts = competition.prompts,
                      .slots = competition.slots,
                      .left_out = competition.left_out};
  for (const CompetingPolicy& policy : ranked) {
    if (policy.role != Role::kMethod) continue;
    answer.contenders.push_back({policy.label, policy.held, bootstrap_mean(policy.retained),
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
  const std::vector<Run> runs = runs_over_layers(replay);
  const SlotCurves curves(runs);
  for (const BudgetRuns& budget : by_budget(runs)) {
    if (auto answer = answer_at(budget, labels, curves)) answers.push_back(std::move(*answer));
  }
  std::ranges::stable_sort(answers, {}, &BudgetAnswer::slots);
  return answers;
}

}  // namespace evictlab::results
