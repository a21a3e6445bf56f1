#include "lab/fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/version.hpp"
#include "lab/result_folder.hpp"
#include "results/schema.hpp"
#include "sim/policy/budget.hpp"
#include "trace/io/joined.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

std::vector<double> slots_of(const std::string& budgets) {
  std::vector<double> slots;
  for (const sim::Budget& budget : sim::parse_budgets(budgets)) {
    if (budget.unit() != sim::Budget::Unit::kSlots) {
      throw core::InputError("fit: budget '{}' must be a number of slots, at which choices are made", budget.text());
    }
    slots.push_back(budget.real_slots({}, 0));
  }
  return slots;
}

/// The prompts of these ids, by index; all where none is named.
std::vector<trace::Index> prompts_of(const trace::Source& trace, const std::vector<std::string>& only) {
  std::vector<trace::Index> prompts;
  for (const std::string& id : only) {
    const auto found = std::ranges::find(trace.prompts(), id, &trace::PromptInfo::id);
    if (found == trace.prompts().end()) throw core::InputError("fit: --only '{}': no such prompt was recorded", id);
    prompts.push_back(found - trace.prompts().begin());
  }
  for (trace::Index i = 0; only.empty() && i < std::ssize(trace.prompts()); ++i) prompts.push_back(i);
  std::ranges::sort(prompts);
  prompts.erase(std::ranges::unique(prompts).begin(), prompts.end());
  return prompts;
}

/// The scorers of the policies that the trace can serve and the engine can compute; reports the others.
std::vector<sim::FitScorer> fit_scorers(const FitOptions& options, const trace::Source& trace, Observer& observer) {
  const auto why_not = [&](const sim::Policy& policy) -> std::optional<std::string> {
    if (scores_from(policy) > options.from) {
      return fmt::format("policy '{}' scores from {}, which --scores-from {} leaves out", policy.label(),
                         scores_from_name(scores_from(policy)), scores_from_name(options.from));
    }
    try {
      sim::fit_scorer(policy);
    } catch (const sim::ImpossiblePolicy& error) {
      return error.what();
    }
    return why_no_scores(trace, policy);
  };
  std::vector<sim::FitScorer> scorers;
  for (const sim::Policy& policy : selected_policies(make_policies(options.policies, observer), why_not, observer)) {
    scorers.push_back(sim::fit_scorer(policy));
  }
  return scorers;
}

results::Table trials_table(const sim::Fit& fit, std::span<const std::string> labels) {
  results::Table table = results::new_table("fit");
  for (const sim::FitTrial& trial : fit.trials) {
    const bool chosen = trial.choice == fit.choice && trial.axis == fit.fitted.axis &&
                        trial.uniform_weight == fit.fitted.uniform_weight;
    const bool one_scorer = trial.choice.level == sim::ScorerLevel::kModel;
    results::Row row(table);
    row.set("level", sim::scorer_level_name(trial.choice.level))
        .set("scorer", one_scorer ? labels[trial.choice.scorer] : std::string())
        .set("axis", sim::axis_name(trial.axis))
        .set("uniform_weight", trial.uniform_weight)
        .set("task", trial.task)
        .set("budget_requested", trial.slots)
        .set("loss", trial.loss)
        .set("chosen", chosen ? "yes" : "no");
    table.add_row(std::move(row));
  }
  return table;
}

results::Table budgets_table(const sim::Fit& fit, std::span<const std::string> labels) {
  results::Table table = results::new_table("fit_budgets");
  const sim::FittedPolicy& fitted = fit.fitted;
  for (const double slots : fitted.provenance.slots) {
    const std::vector<sim::Index> budgets = sim::fitted_budgets(fitted, fit.length, slots);
    for (sim::Index layer = 0; layer < fitted.layers(); ++layer) {
      for (sim::Index g = 0; g < fitted.kv_heads(); ++g) {
        const sim::FittedHead& head = fitted.heads[static_cast<std::size_t>(layer)][static_cast<std::size_t>(g)];
        results::Row row(table);
        row.set("layer", layer)
            .set("head", g)
            .set("scorer", labels[head.scorer])
            .set("sinks", head.protection.sinks)
            .set("recent", head.protection.recent)
            .set("budget_requested", slots)
            .set("positions", budgets[static_cast<std::size_t>(layer * fitted.kv_heads() + g)]);
        table.add_row(std::move(row));
      }
    }
  }
  return table;
}

}  // namespace

sim::LossUnit loss_unit(std::string_view name) {
  constexpr sim::LossUnit kUnits[] = {sim::LossUnit::kOutput, sim::LossUnit::kStream, sim::LossUnit::kSquared,
                                      sim::LossUnit::kMass};
  for (const sim::LossUnit unit : kUnits) {
    if (name == sim::loss_unit_name(unit)) return unit;
  }
  throw core::InputError("fit: the unit must be one of output, stream, squared, mass, got '{}'", name);
}

std::string_view scores_from_name(ScoresFrom from) {
  switch (from) {
    case ScoresFrom::kKeys:
      return "keys";
    case ScoresFrom::kWindow:
      return "window";
    case ScoresFrom::kAll:
      break;
  }
  return "all";
}

ScoresFrom scores_from(const sim::Policy& policy) {
  const sim::Needs needs = policy.needs();
  if (needs.fields.contains(trace::Field::kAttentionMass)) return ScoresFrom::kAll;
  return needs.window_rows > 0 ? ScoresFrom::kWindow : ScoresFrom::kKeys;
}

FitOutcome fit(const FitOptions& options, Observer& observer) {
  ResultFolder folder(options.force, options.command, Inputs().add(options.traces));
  const fs::path policy = options.out / "policy.json";
  const fs::path trials = options.out / "fit.csv";
  const fs::path budgets = options.out / "fit_budgets.csv";
  folder.plan_manifest(trials);
  for (const fs::path& path : {policy, trials, budgets}) folder.plan(path);
  const std::unique_ptr<trace::Source> trace = trace::open_traces(options.traces);
  const trace::ModelInfo& model = trace->model();
  const std::vector<double> slots = slots_of(options.budgets);
  const std::vector<sim::FitScorer> scorers = fit_scorers(options, *trace, observer);

  FitOutcome outcome;
  for (const sim::FitScorer& scorer : scorers) outcome.scorers.push_back(sim::make_policy(scorer.policy).label());
  const std::vector<trace::Index> prompts = prompts_of(*trace, options.only);
  const sim::LossCurves curves =
      sim::measure_loss_curves(*trace, prompts, scorers, options.unit, progress_to(observer, {"measuring"}));
  outcome.fit = sim::fit_policy(curves, scorers, model,
                                {.slots = slots, .per = options.per, .block = options.block, .tasks = options.tasks});
  sim::FittedPolicy& fitted = outcome.fit.fitted;
  fitted.model = model.name;
  fitted.model_fingerprint = model.fingerprint;
  fitted.provenance.program = core::version();
  fitted.provenance.unit = sim::loss_unit_name(options.unit);
  for (const fs::path& path : options.traces) fitted.provenance.traces.push_back(path.filename().string());
  outcome.trials = trials_table(outcome.fit, outcome.scorers);
  outcome.budgets = budgets_table(outcome.fit, outcome.scorers);

  folder.write(policy, sim::fitted_json(fitted));
  folder.write_table(trials, outcome.trials);
  folder.write_table(budgets, outcome.budgets);
  folder.write_manifest(trials,
                        {{"model", model.name}, {"model_fingerprint", model.fingerprint}, {"prompts", prompts.size()}});
  folder.commit();
  outcome.policy = policy;
  outcome.files = {policy, trials, budgets};
  return outcome;
}

}  // namespace evictlab::lab
