#include "lab/fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/error.hpp"
#include "core/version.hpp"
#include "lab/live_setup.hpp"
#include "lab/result_folder.hpp"
#include "results/run_table.hpp"
#include "results/schema.hpp"
#include "sim/policy/budget.hpp"
#include "sim/policy/policy_text.hpp"
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

/// Why the policy's scorer cannot be used, whatever the trace.
std::optional<std::string> why_not_fitted(const FitOptions& options, const sim::Policy& policy) {
  const sim::ScoresFrom from = sim::scores_from(policy.needs());
  if (from > options.from) {
    return fmt::format("policy '{}' scores from {}, which --scores-from {} leaves out", policy.label(),
                       sim::scores_from_name(from), sim::scores_from_name(options.from));
  }
  try {
    sim::fit_scorer(policy);
  } catch (const sim::ImpossiblePolicy& error) {
    return error.what();
  } catch (const sim::PolicyError&) {
    return fmt::format("policy '{}' is none of the program's own, which alone a file can name", policy.label());
  }
  return std::nullopt;
}

/// The same, or why some prompt cannot serve it.
std::optional<std::string> why_not_fitted(const FitOptions& options, const sim::Policy& policy,
                                          const trace::Source& trace, std::span<const trace::Index> prompts) {
  if (auto reason = why_not_fitted(options, policy)) return reason;
  if (auto reason = why_no_scores(trace, policy)) return reason;
  for (const trace::Index index : prompts) {
    const trace::PromptInfo& prompt = trace.prompts()[static_cast<std::size_t>(index)];
    if (policy.needs().window_rows <= prompt.prompt_length) continue;
    return fmt::format("policy '{}' reads the last {} prompt queries; prompt '{}' has {}", policy.label(),
                       policy.needs().window_rows, prompt.id, prompt.prompt_length);
  }
  return std::nullopt;
}

/// Which prompts count as one document: those that name the same, and those that share text.
std::map<std::string, std::string> documents_of(const trace::Source& trace, std::span<const trace::Index> prompts,
                                                Observer& observer) {
  std::vector<runtime::TokenizedPrompt> read;
  for (const trace::Index index : prompts) {
    const trace::PromptInfo& info = trace.prompts()[static_cast<std::size_t>(index)];
    runtime::TokenizedPrompt& prompt = read.emplace_back();
    prompt.id = info.id;
    prompt.task = info.task;
    prompt.document = info.document;
    prompt.spans = info.spans;
    prompt.tokens = trace.tokens(index);
    prompt.tokens.resize(std::min(prompt.tokens.size(), static_cast<std::size_t>(info.prompt_length)));
  }
  merge_documents(read, observer);
  std::map<std::string, std::string> documents;
  for (const runtime::TokenizedPrompt& prompt : read) {
    documents[prompt.id] = prompt.document.empty() ? prompt.id : prompt.document;
  }
  return documents;
}

/// A policy's file is named in lists of policies, where some paths cannot be.
void require_nameable(const fs::path& policy) {
  try {
    const sim::PolicySpec spec = sim::parse_policy("fitted(file=" + policy.string() + ")");
    if (spec.parameters.size() == 1 && spec.parameters.front().second == policy.string()) return;
  } catch (const sim::PolicyError&) {  // said below
  }
  throw core::InputError(
      "fit: --out '{}': a list of policies cannot name a file there; leave out commas, parentheses and blanks at the "
      "ends",
      policy.parent_path().string());
}

fs::path policy_path(const FitOptions& options) { return options.out / "policy.json"; }
fs::path trials_path(const FitOptions& options) { return options.out / "fit.csv"; }
fs::path budgets_path(const FitOptions& options) { return options.out / "fit_budgets.csv"; }

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
        .set(results::kBudgetColumn, trial.slots)
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
            .set(results::kBudgetColumn, slots)
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
                                      sim::LossUnit::kFisher, sim::LossUnit::kMass};
  for (const sim::LossUnit unit : kUnits) {
    if (name == sim::loss_unit_name(unit)) return unit;
  }
  throw core::InputError("fit: the unit must be one of output, stream, squared, fisher, mass, got '{}'", name);
}

void plan_fit(const FitOptions& options, ResultFolder& folder) {
  folder.plan_manifest(trials_path(options));
  for (const fs::path& path : {policy_path(options), trials_path(options), budgets_path(options)}) folder.plan(path);
}

void check_fit(const FitOptions& options, Observer& observer) {
  require_nameable(policy_path(options));
  slots_of(options.budgets);
  Observer silent;
  selected_policies(
      make_policies(options.policies, observer),
      [&](const sim::Policy& policy) { return why_not_fitted(options, policy); }, silent);
}

FitOutcome fit(const FitOptions& options, Observer& observer) {
  check_fit(options, observer);
  Inputs inputs = options.inputs;
  ResultFolder folder(options.force, options.command, inputs.add(options.traces));
  plan_fit(options, folder);
  const std::unique_ptr<trace::Source> trace = trace::open_traces(options.traces);
  const trace::ModelInfo& model = trace->model();
  const std::vector<trace::Index> prompts = prompts_of(*trace, options.only);
  std::vector<sim::FitScorer> scorers;
  for (const sim::Policy& policy : selected_policies(
           make_policies(options.policies, observer),
           [&](const sim::Policy& asked) { return why_not_fitted(options, asked, *trace, prompts); }, observer)) {
    scorers.push_back(sim::fit_scorer(policy));
  }

  FitOutcome outcome;
  for (const sim::FitScorer& scorer : scorers) outcome.scorers.push_back(sim::make_policy(scorer.policy).label());
  sim::LossCurves curves =
      sim::measure_loss_curves(*trace, prompts, scorers, options.unit, progress_to(observer, {"measuring"}));
  const std::map<std::string, std::string> documents = documents_of(*trace, prompts, observer);
  for (sim::PromptCurves& prompt : curves.prompts) prompt.document = documents.at(prompt.prompt);
  outcome.fit = sim::fit_policy(curves, scorers, model,
                                {.slots = slots_of(options.budgets),
                                 .per = options.per,
                                 .block = options.block,
                                 .tasks = options.tasks,
                                 .progress = progress_to(observer, {"choosing", "fits"})});
  sim::FittedPolicy& fitted = outcome.fit.fitted;
  fitted.model = model.name;
  fitted.model_fingerprint = model.fingerprint;
  fitted.provenance.program = core::version();
  fitted.provenance.unit = sim::loss_unit_name(options.unit);
  for (const fs::path& path : options.traces) fitted.provenance.traces.push_back(path.filename().string());
  outcome.trials = trials_table(outcome.fit, outcome.scorers);
  outcome.budgets = budgets_table(outcome.fit, outcome.scorers);

  folder.write(policy_path(options), sim::fitted_json(fitted));
  folder.write_table(trials_path(options), outcome.trials);
  folder.write_table(budgets_path(options), outcome.budgets);
  folder.write_manifest(trials_path(options),
                        {{"model", model.name}, {"model_fingerprint", model.fingerprint}, {"prompts", prompts.size()}});
  folder.commit();
  outcome.policy = policy_path(options);
  outcome.files = {policy_path(options), trials_path(options), budgets_path(options)};
  return outcome;
}

}  // namespace evictlab::lab
