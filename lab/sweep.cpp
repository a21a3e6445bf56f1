#include "lab/sweep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/hash.hpp"
#include "core/version.hpp"
#include "lab/calibration_input.hpp"
#include "lab/replay.hpp"
#include "lab/result_folder.hpp"
#include "lab/resumable.hpp"
#include "results/run_table.hpp"
#include "results/summary.hpp"
#include "sim/policy/compose.hpp"
#include "sim/replay/replay.hpp"
#include "sim/replay/tuning.hpp"
#include "trace/io/joined.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

/// The runs of a sweep.
struct SweepPlan {
  std::vector<sim::Policy> policies;
  std::vector<sim::TunedPolicy> tuned;
  std::vector<sim::Budget> budgets;
};

void add_new(std::vector<sim::Policy>& policies, const std::vector<sim::Policy>& more) {
  std::set<std::string> texts;
  for (const sim::Policy& policy : policies) texts.insert(policy.text());
  for (const sim::Policy& policy : more) {
    if (texts.insert(policy.text()).second) policies.push_back(policy);
  }
}

/// The possible combinations of the matrix, under what is set for all; reports the others, and why.
std::vector<sim::Policy> matrix_policies(const sim::MakeOptions& defaults, Observer& observer) {
  std::vector<sim::Policy> policies;
  std::map<std::string, std::string> left_out;
  for (const std::string& text : sim::compose_matrix()) {
    try {
      policies.push_back(sim::make_policy(sim::with_defaults(sim::parse_policy(text), defaults.constraints)));
    } catch (const sim::ImpossiblePolicy& error) {
      left_out[text] = error.what();
    }
  }
  for (const auto& [policy, reason] : left_out) {
    observer.message(Topic::kLeftOut, fmt::format("{}: {}", policy, reason));
  }
  return policies;
}

/// Whether the registry makes this policy of its text. It does not know the name or the parameters of a policy whose
/// scorer or allocator is a user's own.
bool is_registered(const sim::Policy& policy) {
  const auto same = [](const auto& one, const auto& other) {
    return one == nullptr || other == nullptr ? one == other : one->identity() == other->identity();
  };
  try {
    const sim::Policy made = sim::make_policy(policy.text());
    return same(made.scorer, policy.scorer) && same(made.allocator, policy.allocator);
  } catch (const sim::PolicyError&) {
    return false;
  }
}

/// Tuning reports on prompts that it did not select on: every second one of a task.
void check_tunable(const trace::Source& trace) {
  std::set<std::string> tasks;
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    if (!tasks.insert(prompt.task).second) return;
  }
  throw core::InputError(
      "sweep: --tune selects on one half of a task's prompts and reports on the held-out half; no task has two "
      "prompts");
}

SweepPlan sweep_plan(const SweepOptions& options, Observer& observer) {
  SweepPlan plan;
  plan.policies = make_policies(options.policies, observer);
  if (options.matrix) add_new(plan.policies, matrix_policies(make_options(options.policies, observer), observer));
  if (options.tune) {
    std::vector<sim::PolicySpec> named;
    for (const sim::Policy& policy : plan.policies) {
      if (is_registered(policy)) named.push_back(sim::parse_policy(policy.text()));
    }
    plan.tuned = sim::tuned_policies(named, sim::parse_grid(*options.tune));
    if (plan.tuned.empty()) throw core::InputError("sweep: no policy has all parameters of --tune '{}'", *options.tune);
    for (const sim::TunedPolicy& tuned : plan.tuned) add_new(plan.policies, tuned.candidates);
  }
  plan.budgets = sim::parse_budgets(options.budgets);
  return plan;
}

/// Everything that the tables depend on.
nlohmann::ordered_json sweep_settings(const trace::Source& trace, const SweepPlan& plan, const SweepOptions& options) {
  nlohmann::ordered_json settings;
  settings["version"] = core::version();
  settings["model"] = trace.model().fingerprint;
  for (trace::Index i = 0; const trace::PromptInfo& prompt : trace.prompts()) {
    const std::vector<std::int32_t> tokens = trace.tokens(i++);
    settings["prompts"].push_back({prompt.id, prompt.prompt_length, prompt.future_length, prompt.window,
                                   trace::tier_name(prompt.tier), prompt.document,
                                   core::content_hash(std::as_bytes(std::span(tokens)))});
  }
  for (const sim::Policy& policy : plan.policies) settings["policies"].push_back(policy.text());
  for (const sim::Budget& budget : plan.budgets) settings["budgets"].push_back(budget.text());
  if (options.calibration) {
    settings["calibration"] = core::content_hash(core::read_text(*options.calibration));
  }
  settings["measures"] = options.full_measures ? "all" : "summary";
  settings["layers"] = options.layers;
  settings["headroom"] = options.headroom;
  return settings;
}

/// Where the tables go; those planned are not there yet.
struct SweepFiles {
  fs::path replay, summary, headroom, budgets, trajectory, tuning;

  SweepFiles(const fs::path& out, const SweepOptions& options, ResultFolder& folder)
      : replay(out / "replay.csv"),
        summary(out / "summary.csv"),
        headroom(out / "headroom.csv"),
        budgets(out / "budgets.csv"),
        trajectory(out / "trajectory.csv"),
        tuning(out / "tune.csv") {
    folder.plan_manifest(replay);
    folder.plan(replay);
    folder.plan(summary);
    if (options.headroom) folder.plan(headroom);
    if (options.layers) folder.plan(budgets);
    if (options.layers) folder.plan(trajectory);
    if (options.tune) folder.plan(tuning);
  }
};

/// Replays these prompts and adds them to the checkpoint.
void replay_share(const trace::Source& trace, const SweepPlan& plan, const SweepOptions& options,
                  const results::KlPredictor* predictor, const std::vector<std::size_t>& share,
                  const std::string& label, PromptCheckpoint& checkpoint, Observer& observer) {
  sim::ReplayOptions replay;
  replay.predictor = predictor;
  for (const std::size_t prompt : share) replay.prompts.push_back(static_cast<trace::Index>(prompt));
  replay.positions = false;
  replay.curves = false;
  replay.full_measures = options.full_measures;
  replay.layers = options.layers;
  replay.headroom = options.headroom;
  replay.progress = progress_to(observer, {label});
  replay.finished = [&](trace::Index prompt, sim::ReplayResult&& result) {
    PromptCheckpoint::Part part{.tables = {}, .notes = result.notes};
    for (const ReplayTable& entry : kReplayTables) part.tables.emplace_back(entry.name, &(result.*entry.table));
    checkpoint.write(trace.prompts()[static_cast<std::size_t>(prompt)].id, part);
  };
  sim::replay(trace, plan.policies, plan.budgets, replay);
}

/// Reports how many combinations could not be run.
void report_infeasible(const std::vector<results::Run>& runs, Observer& observer) {
  std::set<std::pair<results::PolicyKey, std::string>> all;
  std::set<std::pair<results::PolicyKey, std::string>> infeasible;
  for (const results::Run& run : runs) {
    all.emplace(run.key, run.budget_text);
    if (run.status == results::RunStatus::kInfeasible) infeasible.emplace(run.key, run.budget_text);
  }
  if (infeasible.empty()) return;
  observer.message(Topic::kInfeasible,
                   fmt::format("{} of {} combinations are below what is protected: status in the table",
                               infeasible.size(), all.size()));
}

std::optional<results::Table> table_of_csv(const std::string& csv, const std::string& name) {
  if (csv.empty()) return std::nullopt;
  return results::Table::from_csv(csv, name);
}

/// Makes the outcome of the finished prompts.
SweepOutcome sweep_outcome(const SweepPlan& plan, results::Table replay, const results::KlPredictor* predictor,
                           PromptCheckpoint::Merged& merged) {
  SweepOutcome outcome;
  outcome.notes = merged.notes;
  outcome.replay = std::move(replay);
  std::set<results::PolicyKey> candidates;
  for (const sim::TunedPolicy& tuned : plan.tuned) {
    for (const sim::Policy& policy : tuned.candidates) candidates.insert({policy.name, policy.parameters});
  }
  outcome.summary = results::summarize(results::without_policies(outcome.replay, candidates), predictor);
  if (const auto headroom = table_of_csv(merged.tables["headroom"], "headroom.csv")) {
    outcome.headroom = results::without_policies(*headroom, candidates);
  }
  if (!plan.tuned.empty()) outcome.tuning = sim::tuning(outcome.replay, plan.tuned);
  return outcome;
}

void write_sweep(const SweepFiles& files, ResultFolder& folder, const SweepOptions& options,
                 PromptCheckpoint::Merged& merged, const nlohmann::ordered_json& details, SweepOutcome& outcome) {
  const auto write = [&](const fs::path& path, std::string_view csv) {
    folder.write(path, csv);
    outcome.files.push_back(path);
  };
  write(files.replay, merged.tables["replay"]);
  write(files.summary, outcome.summary.to_csv());
  if (!merged.tables["headroom"].empty()) write(files.headroom, merged.tables["headroom"]);
  if (options.layers) write(files.budgets, merged.tables["budgets"]);
  if (options.layers) write(files.trajectory, merged.tables["trajectory"]);
  if (outcome.tuning) write(files.tuning, outcome.tuning->to_csv());
  folder.write_manifest(files.replay, details);
  folder.commit();
}

}  // namespace

SweepOutcome sweep(const SweepOptions& options, Observer& observer) {
  Ranks alone = Ranks::alone();
  Ranks& ranks = options.ranks != nullptr ? *options.ranks : alone;
  ResultFolder folder(options.force, options.command, Inputs().add(options.traces).add(options.calibration));
  std::optional<SweepFiles> files;
  if (options.out) files.emplace(*options.out, options, folder);
  const std::unique_ptr<trace::Source> trace = trace::open_traces(options.traces);
  const std::optional<results::KlPredictor> predictor = read_predictor(options.calibration, trace->model());
  require_mapped_measure(predictor, options.full_measures);
  if (options.tune) check_tunable(*trace);
  SweepPlan plan = sweep_plan(options, observer);
  plan.policies = usable_policies(plan.policies, *trace, observer);
  ResumableRun run{.settings = sweep_settings(*trace, plan, options), .restart = options.force};
  for (const trace::PromptInfo& prompt : trace->prompts()) run.prompts.push_back(prompt.id);
  report_conversions(*trace, plan.budgets, observer);
  if (options.headroom) report_partial_headroom(*trace, observer);

  PromptCheckpoint checkpoint(options.out, "sweep");
  SweepOutcome outcome;
  run_resumable(
      run, checkpoint, ranks, observer,
      [&](const std::vector<std::size_t>& share) {
        replay_share(*trace, plan, options, pointer_to(predictor), share, share_label("sweeping", ranks), checkpoint,
                     observer);
      },
      [&] {
        PromptCheckpoint::Merged merged = checkpoint.merge(run.prompts);
        report_notes(merged.notes, kMostNotes, observer);
        results::Table replay = results::Table::from_csv(merged.tables["replay"], "replay.csv");
        const std::vector<results::Run> runs = results::runs_over_layers(replay);
        if (std::ranges::none_of(runs, &results::Run::feasible)) {
          checkpoint.remove();  // no other budget can resume it
          throw core::InputError("sweep: {}", why_nothing_ran(runs));
        }
        report_infeasible(runs, observer);
        report_too_short(runs, observer);
        report_unforetold(replay, predictor, observer);
        outcome = sweep_outcome(plan, std::move(replay), pointer_to(predictor), merged);
        if (files) {
          nlohmann::ordered_json details = {{"model", trace->model().name}, {"prompts", run.prompts.size()}};
          for (const char* key : {"policies", "budgets"}) details[key] = run.settings.at(key);
          write_sweep(*files, folder, options, merged, std::move(details), outcome);
        } else if (options.layers) {
          outcome.budgets = table_of_csv(merged.tables["budgets"], "budgets.csv");
          outcome.trajectory = table_of_csv(merged.tables["trajectory"], "trajectory.csv");
        }
        checkpoint.remove();
      });
  return outcome;
}

}  // namespace evictlab::lab
