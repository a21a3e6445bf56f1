#include "lab/replay.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>

#include "core/error.hpp"
#include "lab/calibration_input.hpp"
#include "lab/imported_inputs.hpp"
#include "lab/result_folder.hpp"
#include "results/run_table.hpp"
#include "results/summary.hpp"
#include "sim/replay/kept_overlap.hpp"
#include "trace/io/joined.hpp"
#include "trace/io/retention_file.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

/// The files of a replay: the table, its companions beside it, and the kept positions.
struct ReplayFiles {
  std::vector<fs::path> tables;  // as the outcome lists them
  std::optional<fs::path> kept;

  ReplayFiles(const ReplayOptions& options, ResultFolder& folder) {
    if (options.out) {
      folder.plan_manifest(*options.out);
      ReplayOutcome planned;
      planned.has_headroom = options.headroom;
      if (!options.constraints.empty()) planned.constraint_costs.emplace();
      planned.each([&](const std::string& name, const results::Table&) {
        tables.push_back(folder.plan(name == "replay" ? *options.out : options.out->parent_path() / (name + ".csv")));
      });
    }
    if (options.kept) kept = folder.plan(*options.kept);
  }
};

/// The policies named; the composition of imported parts where there is none.
std::vector<sim::Policy> named_policies(const ReplayOptions& options, Observer& observer) {
  PolicyRequest request = options.policies;
  if (request.empty() && (options.scores || options.budget_file)) {
    request.list =
        fmt::format("compose({}{}{})", options.scores ? "scorer=given" : "",
                    options.scores && options.budget_file ? "," : "", options.budget_file ? "allocator=given" : "");
  }
  return make_policies(request, observer);
}

/// Puts imported scores and budgets in the place of the parts that stand for them.
void bind_imported(const ReplayOptions& options, const trace::Source& trace, std::vector<sim::Policy>& policies) {
  sim::Imported imported;
  if (options.scores) imported.scores = read_scores(*options.scores, trace);
  if (options.budget_file) imported.budgets = read_budgets(*options.budget_file, trace);
  const auto unused = [&](bool is_there, bool (*wants)(const sim::Policy&)) {
    return is_there && std::none_of(policies.begin(), policies.end(), wants);
  };
  if (unused(imported.scores != nullptr, sim::wants_imported_scores)) {
    throw core::InputError("replay: no policy uses --scores; ask for compose(scorer=given)");
  }
  if (unused(imported.budgets != nullptr, sim::wants_imported_budgets)) {
    throw core::InputError("replay: no policy uses --budgets; ask for compose(allocator=given)");
  }
  for (sim::Policy& policy : policies) policy = sim::with_imported(std::move(policy), imported);
}

/// Policies free and as constraints force them to be.
struct ConstrainedPolicies {
  std::vector<results::ConstrainedPair> pairs;
  std::set<results::PolicyKey> added;  // replayed as the second of a pair alone
};

/// Adds the policies as the constraints force them to be, unless they are there already.
ConstrainedPolicies add_constrained(const std::string& text, std::vector<sim::Policy>& policies, Observer& observer) {
  const sim::KeyValues constraints = sim::parse_constraints(text);
  ConstrainedPolicies result;
  const std::size_t free_count = policies.size();
  std::vector<std::string> impossible;
  for (std::size_t i = 0; i < free_count; ++i) {
    if (policies[i].allocator->traits().ignores_budget) continue;
    try {
      sim::Policy constrained =
          sim::make_policy(sim::with_defaults(sim::parse_policy(policies[i].text()), constraints));
      if (constrained.text() == policies[i].text()) continue;
      result.pairs.push_back({policies[i].name, policies[i].parameters, constrained.parameters, text});
      const bool is_there =
          std::ranges::any_of(policies, [&](const sim::Policy& other) { return other.text() == constrained.text(); });
      if (is_there) continue;
      result.added.insert({constrained.name, constrained.parameters});
      policies.push_back(std::move(constrained));
    } catch (const sim::ImpossiblePolicy& error) {
      impossible.emplace_back(error.what());
    }
  }
  if (result.pairs.empty()) {
    throw core::InputError("replay: --constrain {} changes none of the policies{}", text,
                           impossible.empty() ? "" : "; " + impossible.front());
  }
  for (const std::string& reason : impossible) observer.message(Topic::kLeftOut, reason);
  return result;
}

void write_retention(trace::RetentionWriter& writer, const sim::RetentionRecord& record) {
  writer.begin_run(record.policy.text(), record.budget.text(), record.prompt.id,
                   std::string(sim::granularity_name(record.retention.granularity)));
  for (const sim::LayerRetention& layer : record.retention.layers) {
    const std::vector<std::int64_t> budgets(layer.budgets.begin(), layer.budgets.end());
    writer.write_layer(layer.layer, layer.positions, layer.offsets, budgets);
  }
}

/// Reports combinations that could not be run and those that evict nothing; throws when none could be run.
void report_replay_status(const results::Table& replay, Observer& observer) {
  const std::size_t protection = replay.column("protection");
  std::map<std::string, std::set<std::string>> infeasible;  // run → protections: prompts are many, each is said once
  std::map<std::string, std::size_t> degenerate;
  bool any = false;
  bool any_too_short = false;
  const std::vector<results::Run> runs = results::runs_over_layers(replay);
  for (const results::Run& run : runs) {
    const std::string what = fmt::format("{}({}) at budget {}", run.key.policy, run.key.parameters, run.budget_text);
    if (run.status == results::RunStatus::kTooShort) {
      any_too_short = true;
      continue;
    }
    if (!run.feasible()) {
      const std::string protects = replay.text(run.row, protection);
      infeasible[what].insert(protects == "sinks=0,recent=0" ? "at least one slot" : protects);
      continue;
    }
    any = true;
    if (run.status == results::RunStatus::kDegenerate) ++degenerate[what];
  }
  if (!any && any_too_short) throw core::InputError("replay: {}", why_nothing_ran(runs));
  if (!any && !infeasible.empty()) {
    const auto& [what, protections] = *infeasible.begin();
    throw core::InputError(
        "replay: {} is below what is protected ({}), and so is every other combination; raise --budget", what,
        fmt::join(protections, "; "));
  }
  report_too_short(runs, observer);
  for (const auto& [what, protections] : infeasible) {
    observer.message(Topic::kInfeasible,
                     fmt::format("{} is below what is protected ({})", what, fmt::join(protections, "; ")));
  }
  for (const auto& [what, prompts] : degenerate) {
    observer.message(Topic::kNote, fmt::format("{} evicts nothing on {} prompts", what, prompts));
  }
}

/// Policies to be replayed at the same budgets.
struct ReplayPlan {
  std::vector<sim::Policy> policies;
  std::vector<sim::Budget> budgets;
};

/// Kept sets from a file have their policies and budgets: refuses what would set these.
void refuse_beside_judged(const ReplayOptions& options) {
  const std::pair<const char*, bool> settings[] = {{"--policy", !options.policies.empty()},
                                                   {"--budget", !options.budgets.empty()},
                                                   {"--constrain", !options.constraints.empty()},
                                                   {"--protect", !options.policies.protect.empty()},
                                                   {"--variant", !options.policies.variant.empty()}};
  for (const auto& [name, is_set] : settings) {
    if (!is_set) continue;
    throw core::InputError(
        "replay: {} does not apply to kept positions that are judged ({}, without --policy); leave it out, or name "
        "policies with --policy to write that file",
        name, options.judged->string());
  }
}

/// One plan per budget in a file of kept positions.
std::vector<ReplayPlan> judged_plans(const fs::path& kept, const trace::Source& trace) {
  std::vector<ReplayPlan> plans;
  std::map<std::string, std::size_t> by_budget;
  for (KeptRun& run : read_kept(kept, trace)) {
    const auto [place, is_new] = by_budget.emplace(run.budget, plans.size());
    if (is_new) plans.push_back({{}, sim::parse_budgets(run.budget)});
    plans[place->second].policies.push_back(std::move(run.policy));
  }
  return plans;
}

/// The plan for the policies named, and what constraints add to it.
ReplayPlan named_plan(const ReplayOptions& options, const trace::Source& trace, ConstrainedPolicies& constrained,
                      Observer& observer) {
  std::vector<sim::Policy> policies = named_policies(options, observer);
  bind_imported(options, trace, policies);
  if (!options.constraints.empty()) constrained = add_constrained(options.constraints, policies, observer);
  const bool any_budget = std::ranges::all_of(
      policies, [](const sim::Policy& policy) { return policy.allocator->traits().ignores_budget; });
  if (options.budgets.empty() && !any_budget) {
    throw core::InputError("replay: --budget is missing; see evictlab replay --help");
  }
  std::vector<sim::Budget> budgets =
      options.budgets.empty() ? std::vector{sim::Budget::ratio(1.0)} : sim::parse_budgets(options.budgets);
  return {usable_policies(policies, trace, observer), std::move(budgets)};
}

std::vector<sim::Budget> all_budgets(const std::vector<ReplayPlan>& plans) {
  std::vector<sim::Budget> budgets;
  for (const ReplayPlan& plan : plans) budgets.insert(budgets.end(), plan.budgets.begin(), plan.budgets.end());
  return budgets;
}

sim::ReplayResult replay_plans(const trace::Source& trace, const std::vector<ReplayPlan>& plans,
                               const sim::ReplayOptions& options) {
  sim::ReplayResult result;
  for (const ReplayPlan& plan : plans) {
    sim::ReplayResult one = sim::replay(trace, plan.policies, plan.budgets, options);
    if (&plan == &plans.front()) {
      result = std::move(one);
      continue;
    }
    for (const ReplayTable& entry : kReplayTables) (result.*entry.table).append(one.*entry.table);
    for (const auto& [note, total] : one.notes) {
      result.notes[note].runs += total.runs;
      result.notes[note].slots += total.slots;
    }
  }
  return result;
}

/// Writes the tables that have rows: of a replay without spans, or of one policy, some have none.
void write_tables(const ReplayFiles& files, ReplayOutcome& outcome, ResultFolder& folder) {
  if (files.tables.empty()) return;
  auto path = files.tables.begin();
  outcome.each([&](const char*, const results::Table& table) {
    const fs::path& file = *path++;
    if (table.rows() == 0) return;
    folder.write_table(file, table);
    outcome.files.push_back(file);
  });
}

nlohmann::ordered_json replay_details(const ReplayOptions& options, const trace::Source& trace,
                                      const std::vector<ReplayPlan>& plans) {
  nlohmann::ordered_json policies;
  nlohmann::ordered_json budgets;
  for (const ReplayPlan& plan : plans) {
    for (const sim::Policy& policy : plan.policies) policies.push_back(policy.text());
    for (const sim::Budget& budget : plan.budgets) budgets.push_back(budget.text());
  }
  nlohmann::ordered_json traces;
  for (const fs::path& trace_path : options.traces) traces.push_back(trace_path.string());
  return {{"trace", traces.size() == 1 ? traces.front() : traces},
          {"model", trace.model().name},
          {"model_fingerprint", trace.model().fingerprint},
          {"prompts", trace.prompts().size()},
          {"policies", policies},
          {"budgets", budgets}};
}

}  // namespace

ReplayOutcome replay(const ReplayOptions& options, Observer& observer) {
  if (options.judged) refuse_beside_judged(options);
  ResultFolder folder(options.force, options.command,
                      Inputs().add(options.traces).add(options.scores).add(options.budget_file).add(options.judged));
  const ReplayFiles files(options, folder);
  const std::unique_ptr<trace::Source> trace = trace::open_traces(options.traces);
  ConstrainedPolicies constrained;
  const std::vector<ReplayPlan> plans = options.judged
                                            ? judged_plans(*options.judged, *trace)
                                            : std::vector{named_plan(options, *trace, constrained, observer)};
  for (const ReplayPlan& plan : plans) report_conversions(*trace, plan.budgets, observer);

  if (options.headroom) report_partial_headroom(*trace, observer);

  sim::KeptOverlap kept_overlap(all_budgets(plans), trace->model().query_heads, options.judged.has_value());
  std::unique_ptr<trace::RetentionWriter> kept;
  if (files.kept) {
    kept = std::make_unique<trace::RetentionWriter>(*files.kept, options.command, options.force);
  }
  const std::optional<results::KlPredictor> predictor = read_predictor(options.calibration, trace->model());
  require_mapped_measure(predictor, options.full_measures);
  sim::ReplayOptions replay_options;
  replay_options.full_measures = options.full_measures;
  replay_options.predictor = pointer_to(predictor);
  replay_options.headroom = options.headroom;
  replay_options.progress = progress_to(observer, {"replaying"});
  replay_options.retention = [&](const sim::RetentionRecord& record) {
    kept_overlap.add(record);
    if (kept) write_retention(*kept, record);
  };
  ReplayOutcome outcome{.tables = replay_plans(*trace, plans, replay_options),
                        .has_headroom = options.headroom,
                        .kept_overlap = kept_overlap.finish(),
                        .summary = {},
                        .constraint_costs = {},
                        .files = {}};
  report_replay_status(outcome.tables.replay, observer);
  report_unforetold(outcome.tables.replay, predictor, observer);
  report_notes(outcome.tables.notes, outcome.tables.notes.size(), observer);
  outcome.summary =
      results::summarize(results::without_policies(outcome.tables.replay, constrained.added), pointer_to(predictor));
  if (!options.constraints.empty()) {
    outcome.constraint_costs = results::constraint_costs(outcome.tables.replay, constrained.pairs);
  }
  write_tables(files, outcome, folder);
  if (options.out) folder.write_manifest(*options.out, replay_details(options, *trace, plans));
  if (kept) kept->finish();
  folder.commit();
  return outcome;
}

}  // namespace evictlab::lab
