#include "results/answer.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <type_traits>

#include "results/equal_slots.hpp"
#include "results/labels.hpp"
#include "results/run_table.hpp"

namespace evictlab::results {
namespace {

/// A policy measured on every prompt: the measure with the slots compared, in the order of the prompts' names.
struct CompetingPolicy {
  PolicyKey key;
  std::string label;
  Role role = Role::kMethod;
  double held = 0;
  std::vector<double> values;
  Interval predicted;  // the ends, where KL is foretold

  double loss(Measure measure) const { return as_loss(measure, mean(values)); }
};

/// The policies at one budget.
struct Competition {
  double slots = 0;                     // compared, mean over prompts
  std::vector<std::string> tasks;       // by prompt
  std::vector<std::string> documents;   // likewise
  std::vector<CompetingPolicy> ranked;  // best first; equal ones by label
  std::vector<LeftOut> left_out;        // methods, by label
};

/// Answers one replay table.
class Answering {
 public:
  Answering(const Table& replay, const KlPredictor* predictor)
      : table_(replay),
        predictor_(predictor),
        runs_(runs_over_layers(replay)),
        measure_(leading_measure(runs_)),
        labels_(policy_labels(policies_of(replay))),
        curves_(runs_) {}

  std::vector<BudgetAnswer> answers() const {
    std::vector<BudgetAnswer> all;
    for (const BudgetRuns& budget : by_budget(runs_)) {
      if (auto answer = answer_at(budget)) all.push_back(std::move(*answer));
    }
    std::ranges::stable_sort(all, {}, &BudgetAnswer::slots);
    return all;
  }

 private:
  Competition competition_at(const BudgetRuns& budget) const {
    PromptSlots prompts;
    std::map<std::string, const Run*> first;
    for (const PolicyRuns& policy : budget.policies) {
      for (const Run& run : policy.runs) {
        if (!run[measure_]) continue;
        prompts[run.prompt] = 0.0;
        first.try_emplace(run.prompt, &run);
      }
    }
    const auto slots = curves_.compared_on(budget.budget_text, prompts);
    Competition competition;
    for (const auto& [prompt, run] : first) {
      competition.tasks.push_back(run->task);
      competition.documents.push_back(run->document);
    }
    if (!slots) return competition;
    competition.slots = mean(values_of(*slots));
    for (const PolicyRuns& policy : budget.policies) {
      if (policy.values(measure_).size() != prompts.size()) continue;
      const auto values =
          curves_.values(policy.key, budget.budget_text, *slots, [&](const Run& run) { return run[measure_]; });
      if (values) {
        competition.ranked.push_back({policy.key, labels_.at(policy.key), policy.role, policy.mean_slots(),
                                      values_of(*values), predicted_ends(policy)});
      } else if (policy.role == Role::kMethod) {
        competition.left_out.push_back({labels_.at(policy.key), policy.mean_slots()});
      }
    }
    std::ranges::sort(competition.ranked, [&](const CompetingPolicy& a, const CompetingPolicy& b) {
      const double loss_a = a.loss(measure_);
      const double loss_b = b.loss(measure_);
      return loss_a != loss_b ? loss_a < loss_b : a.label < b.label;
    });
    std::ranges::sort(competition.left_out, {}, &LeftOut::label);
    return competition;
  }

  /// Means over prompts of what the divergence lies within; none unless it is there for every prompt.
  Interval predicted_ends(const PolicyRuns& policy) const {
    if (measure_ != Measure::kPredictedKl) return {};
    const auto mean_of = [&](const char* name) -> std::optional<double> {
      const auto column = table_.find_column(name);
      if (!column) return std::nullopt;
      double sum = 0.0;
      for (const Run& run : policy.runs) {
        const auto value = table_.number(run.row, *column);
        if (!value) return std::nullopt;
        sum += *value;
      }
      return sum / static_cast<double>(policy.runs.size());
    };
    return {.low = mean_of("predicted_kl_low"), .high = mean_of("predicted_kl_high")};
  }

  /// The mean over these of a policy's prompts.
  Interval value_of(const CompetingPolicy& policy, const std::vector<double>& values,
                    const std::vector<std::string>& documents) const {
    if (measure_ != Measure::kPredictedKl) return bootstrap_mean(values);
    if (predictor_ != nullptr) {
      return predictor_->mean(policy.key, values, std::set<std::string>(documents.begin(), documents.end()).size());
    }
    Interval interval = policy.predicted;
    interval.mean = mean(values);
    return interval;
  }

  /// How much worse `b` is than `a`, paired.
  Interval behind(const std::vector<double>& a, const std::vector<double>& b) const {
    return info(measure_).better == Better::kHigher ? bootstrap_paired_difference(a, b)
                                                    : bootstrap_paired_difference(b, a);
  }

  /// Whether anything is lost. The full cache loses nothing, so it says nothing about a choice of positions.
  bool evicts(const CompetingPolicy& policy) const {
    return amount_lost(measure_, mean(policy.values)) > (measure_ == Measure::kRetainedMass ? 1e-9 : 0.0);
  }

  std::optional<BudgetAnswer> answer_at(const BudgetRuns& budget) const {
    const Competition competition = competition_at(budget);
    const std::vector<CompetingPolicy>& ranked = competition.ranked;
    const auto best = std::ranges::find(ranked, Role::kMethod, &CompetingPolicy::role);
    if (best == ranked.end()) return std::nullopt;
    BudgetAnswer answer{.budget = budget.budget_text,
                        .prompts = competition.tasks.size(),
                        .slots = competition.slots,
                        .measure = measure_,
                        .left_out = competition.left_out};
    for (const CompetingPolicy& policy : ranked) {
      if (policy.role != Role::kMethod) continue;
      answer.contenders.push_back({policy.label, policy.held, value_of(policy, policy.values, competition.documents),
                                   behind(best->values, policy.values)});
    }
    const auto control = std::ranges::find(ranked, Role::kControl, &CompetingPolicy::role);
    if (control != ranked.end()) {
      answer.control = control->label;
      answer.over_control = behind(best->values, control->values);
    }
    const auto ceiling = std::ranges::find_if(
        ranked, [&](const CompetingPolicy& policy) { return policy.role == Role::kCeiling && evicts(policy); });
    if (ceiling != ranked.end()) {
      answer.ceiling = ceiling->label;
      answer.below_ceiling = behind(ceiling->values, best->values);
    }
    add_tasks(competition, *best, answer);
    return answer;
  }

  void add_tasks(const Competition& competition, const CompetingPolicy& leader, BudgetAnswer& answer) const {
    const std::set<std::string> tasks(competition.tasks.begin(), competition.tasks.end());
    if (tasks.size() < 2) return;
    std::map<std::string, std::pair<double, std::string>> worst;  // by method: the loss on its worst task
    for (const std::string& task : tasks) {
      const auto of_task = [&](const auto& by_prompt) {
        std::decay_t<decltype(by_prompt)> own;
        for (std::size_t i = 0; i < by_prompt.size(); ++i) {
          if (competition.tasks[i] == task) own.push_back(by_prompt[i]);
        }
        return own;
      };
      const CompetingPolicy* best = nullptr;
      double least = 0.0;
      for (const CompetingPolicy& policy : competition.ranked) {
        if (policy.role != Role::kMethod) continue;
        const double loss = as_loss(measure_, mean(of_task(policy.values)));
        const auto [own, is_new] = worst.try_emplace(policy.label, loss, task);
        if (!is_new && loss > own->second.first) own->second = {loss, task};
        if (best != nullptr && loss >= least) continue;
        best = &policy;
        least = loss;
      }
      const std::vector<double> values = of_task(best->values);
      answer.tasks.push_back({task, best->label, value_of(*best, values, of_task(competition.documents)),
                              behind(values, of_task(leader.values))});
    }
    const auto least = std::ranges::min_element(worst, {}, [](const auto& entry) { return entry.second.first; });
    const auto& [loss, task] = least->second;
    answer.worst_task = {least->first, task, as_loss(measure_, loss)};  // which turns a loss back as well
  }

  const Table& table_;
  const KlPredictor* predictor_;
  std::vector<Run> runs_;
  Measure measure_;
  std::map<PolicyKey, std::string> labels_;
  SlotCurves curves_;
};

}  // namespace

std::vector<BudgetAnswer> budget_answers(const Table& replay, const KlPredictor* predictor) {
  require_columns(replay, {"slots_held", info(Measure::kRetainedMass).column});
  return Answering(replay, predictor).answers();
}

}  // namespace evictlab::results
