#include "lab/fit_live.hpp"

#include <algorithm>
#include <set>

#include "core/error.hpp"
#include "lab/live_setup.hpp"
#include "lab/model.hpp"
#include "lab/record.hpp"
#include "lab/replay.hpp"
#include "results/run_table.hpp"
#include "results/statistics.hpp"
#include "runtime/checkpoint.hpp"

namespace evictlab::lab {
namespace {

/// Ids of the prompts that are fitted to, and of those that are judged.
struct Halves {
  std::vector<std::string> fitted;
  std::vector<std::string> judged;
};

runtime::RecordOptions full_tier(sim::LossUnit unit) {
  runtime::RecordOptions record;
  record.tier = trace::Tier::kFull;
  if (unit == sim::LossUnit::kFisher) record.gradients = runtime::kGradientDraws;
  return record;
}

Halves halves_of(const LiveFitOptions& options, Observer& observer) {
  // First, or a model that is not there would be said to lack a tokenizer.
  const runtime::ModelConfig config = runtime::read_model_config(options.model);
  const ModelTokenizer tokenizer(options.model);
  std::vector<runtime::TokenizedPrompt> prompts =
      tokenize_all(gather_prompts(options.prompts, tokenizer), tokenizer, config, full_tier(options.fit.unit), {});
  merge_documents(prompts, observer);
  std::vector<results::Run> runs;
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    results::Run& run = runs.emplace_back();
    run.prompt = prompt.id;
    run.task = prompt.task;
    run.document = prompt.document;
  }
  const std::set<std::string> first = results::first_half(runs);
  Halves halves;
  for (const results::Run& run : runs)
    (first.contains(run.prompt) ? halves.fitted : halves.judged).push_back(run.prompt);
  if (halves.judged.empty()) {
    throw core::InputError(
        "fit: all {} prompts are of one document, so that none is left to judge by; record them and fit to the trace",
        runs.size());
  }
  return halves;
}

/// The policies with the least loss at some budget, mean over the recorded prompts: squared error relative to the
/// layer's output.
std::vector<sim::Policy> best_published(const LiveFitOptions& options, const std::filesystem::path& trace,
                                        Observer& observer) {
  ReplayOptions replay{.traces = {trace}, .policies = {.list = options.against}, .budgets = options.fit.budgets};
  const results::Table table = lab::replay(replay, observer).tables.replay;
  std::vector<sim::Policy> best;
  std::set<std::string> taken;
  const std::vector<sim::Policy> policies = make_policies(replay.policies, observer);
  for (const results::BudgetRuns& budget : results::by_budget(results::runs_over_layers(table))) {
    const results::PolicyRuns* leader = nullptr;
    double least = 0.0;
    for (const results::PolicyRuns& runs : budget.policies) {
      const std::vector<double> losses = results::values_of(runs.values(results::Measure::kOutputRelativeSquaredError));
      if (losses.empty() || runs.role != results::Role::kMethod) continue;
      const double loss = results::mean(losses);
      if (leader != nullptr && loss >= least) continue;
      leader = &runs;
      least = loss;
    }
    if (leader == nullptr || !taken.insert(leader->key.policy + leader->key.parameters).second) continue;
    const auto policy = std::ranges::find_if(policies, [&](const sim::Policy& one) {
      return one.name == leader->key.policy && one.parameters == leader->key.parameters;
    });
    if (policy != policies.end()) best.push_back(*policy);
  }
  return best;
}

}  // namespace

LiveFitOutcome fit_live(const LiveFitOptions& options, Observer& observer) {
  const std::filesystem::path trace = options.fit.out / "recording.h5";
  // What an interrupted run left is gone on with: the recording, and the prompts that were run.
  const bool goes_on = !options.fit.force && std::filesystem::exists(trace) &&
                       !std::filesystem::exists(options.fit.out / "validate" / "validate.csv");
  FitOptions fit = options.fit;
  fit.inputs = prompt_inputs(options.prompts);
  fit.inputs.add_model(options.model);
  check_fit(fit, observer);
  {
    // Before the work: nothing is made yet that would have to stay.
    ResultFolder folder(fit.force || goes_on, fit.command, fit.inputs);
    plan_fit(fit, folder);
  }
  const Halves halves = halves_of(options, observer);
  LiveFitOutcome outcome;
  outcome.recorded = halves.fitted.size();
  outcome.judged = halves.judged.size();

  RecordOptions record{.model = options.model, .prompts = options.prompts, .out = trace};
  record.prompts.only = halves.fitted;
  record.record = full_tier(options.fit.unit);
  record.force = options.fit.force;
  record.append = !record.force && std::filesystem::exists(trace);
  record.command = options.fit.command;
  lab::record(record, observer);

  fit.traces = {trace};
  fit.only = halves.fitted;
  fit.force = fit.force || goes_on;
  outcome.fit = lab::fit(fit, observer);

  ValidateOptions validate{.model = options.model, .prompts = options.prompts, .budgets = fit.budgets};
  validate.prompts.only = halves.judged;
  validate.policies.list = "fitted(file=" + outcome.fit.policy.string() + ")";
  validate.policies.policies = best_published(options, trace, observer);
  for (const sim::Policy& policy : validate.policies.policies) outcome.published.push_back(policy.label());
  validate.teacher_forced = true;
  validate.out = fit.out / "validate";
  validate.force = options.fit.force;
  validate.command = options.fit.command;
  outcome.validation = lab::validate(validate, observer);
  return outcome;
}

}  // namespace evictlab::lab
