#include "sim/replay/replay.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "cli/common_options.hpp"
#include "cli/given_files.hpp"
#include "cli/outputs.hpp"
#include "cli/policy_options.hpp"
#include "cli/replay_summary.hpp"
#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "results/summary.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/kept_overlap.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/retention_file.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

/// Whether --kept says what to judge instead of where to write: there is no policy to replay.
bool judges_kept(const Options& options) {
  return options.has("kept") && !options.has("policy") && !options.has("scores") && !options.has("budgets");
}

/// What replay writes: the table asked for, its companions beside it, and the kept positions where asked for.
struct ReplayFiles {
  fs::path replay;
  fs::path budgets;
  fs::path positions;
  fs::path spans;
  fs::path trajectory;
  fs::path kept_overlap;
  std::optional<fs::path> constraints;
  std::optional<fs::path> kept;

  ReplayFiles(const Outputs& outputs, const Options& options)
      : replay(outputs.plan(options.path("out"))),
        budgets(outputs.plan(replay.parent_path() / "budgets.csv")),
        positions(outputs.plan(replay.parent_path() / "positions.csv")),
        spans(outputs.plan(replay.parent_path() / "spans.csv")),
        trajectory(outputs.plan(replay.parent_path() / "trajectory.csv")),
        kept_overlap(outputs.plan(replay.parent_path() / "kept_overlap.csv")) {
    const fs::path manifest = outputs.plan(Outputs::manifest_path(replay));
    if (options.has("kept") && !judges_kept(options)) kept = outputs.plan(options.path("kept"));
    if (options.has("constrain")) constraints = outputs.plan(replay.parent_path() / "constraints.csv");
    std::set<fs::path> different;
    for (const fs::path& path : {replay, budgets, positions, spans, trajectory, kept_overlap, manifest,
                                 constraints.value_or("constraints"), kept.value_or("kept")}) {
      if (!different.insert(fs::absolute(path).lexically_normal()).second) {
        throw core::InputError(
            "replay: {} would be written twice; its companions (budgets.csv, ...) go beside the table", path.string());
      }
      std::error_code ignored;
      if (fs::equivalent(path, options.path("trace"), ignored)) {
        throw core::InputError("replay: {} is the trace that is replayed; write somewhere else", path.string());
      }
    }
  }
};

/// The policies asked for, with what --protect and --variant set for all. Says which cannot be and why.
std::vector<sim::Policy> asked_policies(const Options& options) {
  const sim::MakeOptions make = make_options(options);
  const bool given = options.has("scores") || options.has("budgets");
  if (options.has("policy") || !given) return sim::make_policies(options.text("policy"), make);
  return sim::make_policies(fmt::format("compose({}{}{})", options.has("scores") ? "scorer=given" : "",
                                        options.has("scores") && options.has("budgets") ? "," : "",
                                        options.has("budgets") ? "allocator=given" : ""),
                            make);
}

/// Puts the files of --scores and --budgets in the place of the parts that stand for them.
void bind_given(const Options& options, const trace::Source& trace, std::vector<sim::Policy>& policies) {
  sim::Imported given;
  if (const auto scores = options.optional_text("scores")) given.scores = read_scores(*scores, trace);
  if (const auto budgets = options.optional_text("budgets")) given.budgets = read_budgets(*budgets, trace);
  const auto unused = [&](bool is_given, bool (*wants)(const sim::Policy&)) {
    return is_given && std::none_of(policies.begin(), policies.end(), wants);
  };
  if (unused(given.scores != nullptr, sim::wants_imported_scores)) {
    throw core::InputError("replay: no policy uses --scores; ask for compose(scorer=given)");
  }
  if (unused(given.budgets != nullptr, sim::wants_imported_budgets)) {
    throw core::InputError("replay: no policy uses --budgets; ask for compose(allocator=given)");
  }
  for (sim::Policy& policy : policies) policy = sim::with_imported(std::move(policy), given);
}

/// Adds the policies as --constrain forces them to be; returns which belong to which.
std::vector<results::ConstrainedPair> add_constrained(const std::string& text, std::vector<sim::Policy>& policies) {
  const sim::KeyValues constraints = sim::parse_constraints(text);
  std::vector<results::ConstrainedPair> pairs;
  const std::size_t free_count = policies.size();
  for (std::size_t i = 0; i < free_count; ++i) {
    if (policies[i].allocator->traits().ignores_budget) continue;
    try {
      sim::Policy constrained =
          sim::make_policy(sim::with_defaults(sim::parse_policy(policies[i].text()), constraints));
      if (constrained.text() == policies[i].text()) continue;
      pairs.push_back({policies[i].name, policies[i].parameters, constrained.parameters, text});
      policies.push_back(std::move(constrained));
    } catch (const sim::ImpossiblePolicy& error) {
      std::cerr << fmt::format("left out: {}\n", error.what());
    }
  }
  return pairs;
}

/// The rows of policies as they are, not as constraints force them to be.
results::Table free_rows(const results::Table& replay, const std::vector<results::ConstrainedPair>& pairs) {
  std::set<std::pair<std::string, std::string>> constrained;
  for (const results::ConstrainedPair& pair : pairs) constrained.emplace(pair.policy, pair.constrained_parameters);
  results::Table table(replay.columns());
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    const std::pair key(replay.text(row, replay.column("policy")), replay.text(row, replay.column("parameters")));
    if (!constrained.contains(key)) table.add_row(replay.row(row));
  }
  return table;
}

void write_retention(trace::RetentionWriter& writer, const sim::RetentionRecord& record) {
  writer.begin_run(record.policy.text(), record.budget.text(), record.prompt.id,
                   std::string(sim::granularity_name(record.retention.granularity)));
  for (const sim::LayerRetention& layer : record.retention.layers) {
    const std::vector<std::int64_t> budgets(layer.budgets.begin(), layer.budgets.end());
    writer.write_layer(layer.layer, layer.positions, layer.offsets, budgets);
  }
}

/// Combinations that could not be run, and whether any could.
void report_status(const results::Table& replay) {
  const std::size_t policy = replay.column("policy");
  const std::size_t parameters = replay.column("parameters");
  const std::size_t budget = replay.column("budget_requested");
  const std::size_t protection = replay.column("protection");
  const std::size_t layer = replay.column("layer");
  const std::size_t status = replay.column("status");
  std::map<std::string, std::set<std::string>> infeasible;  // message → prompts are many, say each once
  std::map<std::string, std::size_t> degenerate;
  bool any = false;
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    if (replay.text(row, layer) != "all") continue;
    const std::string what = fmt::format("{}({}) at budget {}", replay.text(row, policy), replay.text(row, parameters),
                                         replay.text(row, budget));
    if (replay.text(row, status) == "infeasible") {
      const std::string protects = replay.text(row, protection);
      infeasible[what].insert(protects == "sinks=0,recent=0" ? "at least one slot" : protects);
      continue;
    }
    any = true;
    if (replay.text(row, status) == "degenerate") ++degenerate[what];
  }
  if (!any && !infeasible.empty()) {
    const auto& [what, protections] = *infeasible.begin();
    throw core::InputError(
        "replay: {} is below what is protected ({}), and so is every other combination; raise --budget", what,
        fmt::join(protections, "; "));
  }
  for (const auto& [what, protections] : infeasible) {
    std::cerr << fmt::format("left out: {} is below what is protected ({})\n", what, fmt::join(protections, "; "));
  }
  for (const auto& [what, prompts] : degenerate) {
    std::cerr << fmt::format("note: {} evicts nothing on {} prompts\n", what, prompts);
  }
}

/// Policies to be replayed at the same budgets.
struct Plan {
  std::vector<sim::Policy> policies;
  std::vector<sim::Budget> budgets;
};

/// One plan for the policies asked for; one per budget in a file of kept positions.
std::vector<Plan> plans(const Options& options, const trace::Source& trace,
                        std::vector<results::ConstrainedPair>& pairs) {
  std::vector<Plan> result;
  if (judges_kept(options)) {
    std::map<std::string, std::size_t> by_budget;
    for (KeptRun& run : read_kept(options.path("kept"), trace)) {
      const auto [place, is_new] = by_budget.emplace(run.budget, result.size());
      if (is_new) result.push_back({{}, sim::parse_budgets(run.budget)});
      result[place->second].policies.push_back(std::move(run.policy));
    }
    return result;
  }
  std::vector<sim::Policy> asked = asked_policies(options);
  bind_given(options, trace, asked);
  if (const auto constraints = options.optional_text("constrain")) pairs = add_constrained(*constraints, asked);
  const bool any_budget = std::all_of(
      asked.begin(), asked.end(), [](const sim::Policy& policy) { return policy.allocator->traits().ignores_budget; });
  std::vector<sim::Budget> budgets = options.has("budget") || !any_budget ? sim::parse_budgets(options.text("budget"))
                                                                          : std::vector{sim::Budget::ratio(1.0)};
  result.push_back({usable_policies(asked, trace), std::move(budgets)});
  return result;
}

void append(results::Table& table, const results::Table& more) {
  for (std::size_t row = 0; row < more.rows(); ++row) table.add_row(more.row(row));
}

sim::ReplayResult replay_plans(const trace::Source& trace, const std::vector<Plan>& plans,
                               sim::ReplayOptions& options) {
  sim::ReplayResult result;
  for (std::size_t i = 0; i < plans.size(); ++i) {
    options.progress = layer_progress("replaying");
    sim::ReplayResult one = sim::replay(trace, plans[i].policies, plans[i].budgets, options);
    if (i == 0) {
      result = std::move(one);
      continue;
    }
    append(result.replay, one.replay);
    append(result.budgets, one.budgets);
    append(result.positions, one.positions);
    append(result.spans, one.spans);
    append(result.trajectory, one.trajectory);
    for (const auto& [note, total] : one.notes) {
      result.notes[note].runs += total.runs;
      result.notes[note].slots += total.slots;
    }
  }
  return result;
}

void declare(Options& options) {
  options.positional("trace", "the trace: a file or a directory of parts", Options::Count::kOne);
  declare_policies(options);
  options.value("out", "FILE.csv", "", "the table to write");
  options.value("constrain", "LIST", "",
                "also replay every policy under constraints and report what they cost: share=kv|layer (one kept set "
                "for all heads of), blocks=16 (kept in blocks), layers=uniform");
  options.value("scores", "FILE.h5", "", "scores made elsewhere, for compose(scorer=given,...); see docs/importing.md");
  options.value("budgets", "FILE", "", "budgets made elsewhere (JSON or HDF5), for compose(allocator=given,...)");
  options.value("kept", "FILE.h5", "",
                "also write which positions were kept; without --policy: judge what this file says was kept");
  declare_threads(options);
  options.flag("force", "replace existing results");
}

}  // namespace

int run_replay(const Arguments& arguments) {
  Options options(
      "replay", "TRACE --policy LIST --budget LIST --out replay.csv [OPTION ...]",
      "Replays eviction policies at budgets from a recorded trace: what each keeps, what that costs, and how\n"
      "far it is from the oracle. Writes the table, budgets.csv, positions.csv, spans.csv, trajectory.csv\n"
      "and kept_overlap.csv beside it, and a manifest.");
  declare(options);
  if (!options.parse(arguments)) return 0;

  use_threads(options);
  const Outputs outputs(options.has("force"));
  const ReplayFiles files(outputs, options);
  const trace::TraceReader trace(options.path("trace"));
  std::vector<results::ConstrainedPair> pairs;
  const std::vector<Plan> all = plans(options, trace, pairs);
  for (const Plan& plan : all) report_conversions(trace, plan.budgets);

  sim::KeptOverlap kept_overlap(all.front().budgets, trace.model().query_heads);
  std::unique_ptr<trace::RetentionWriter> kept;
  sim::ReplayOptions replay_options;
  if (files.kept) {
    Outputs::make_parent(*files.kept);
    kept = std::make_unique<trace::RetentionWriter>(*files.kept, command_line(), options.has("force"));
  }
  replay_options.retention = [&](const sim::RetentionRecord& record) {
    kept_overlap.add(record);
    if (kept) write_retention(*kept, record);
  };
  const sim::ReplayResult result = replay_plans(trace, all, replay_options);
  report_status(result.replay);
  report_notes(result.notes, result.notes.size());

  outputs.write_table(files.replay, result.replay);
  outputs.write_table(files.budgets, result.budgets);
  outputs.write_table(files.positions, result.positions);
  outputs.write_table(files.spans, result.spans);
  outputs.write_table(files.trajectory, result.trajectory);
  outputs.write_table(files.kept_overlap, kept_overlap.finish());
  if (files.constraints) outputs.write_table(*files.constraints, results::constraint_costs(result.replay, pairs));
  nlohmann::ordered_json policies;
  nlohmann::ordered_json budgets;
  for (const Plan& plan : all) {
    for (const sim::Policy& policy : plan.policies) policies.push_back(policy.text());
    for (const sim::Budget& budget : plan.budgets) budgets.push_back(budget.text());
  }
  outputs.write_manifest(files.replay, {{"trace", options.text("trace")},
                                        {"model", trace.model().name},
                                        {"model_fingerprint", trace.model().fingerprint},
                                        {"prompts", trace.prompts().size()},
                                        {"policies", policies},
                                        {"budgets", budgets}});
  if (kept) kept->finish();
  std::cout << replay_summary(results::summarize(free_rows(result.replay, pairs)));
  if (files.constraints) std::cout << constraints_summary(results::constraint_costs(result.replay, pairs));
  std::cerr << fmt::format("wrote {}, {}, {}, {}, {}, {}{}\n", files.replay.string(), files.budgets.filename().string(),
                           files.positions.filename().string(), files.spans.filename().string(),
                           files.trajectory.filename().string(), files.kept_overlap.filename().string(),
                           files.constraints ? ", " + files.constraints->filename().string() : "");
  return 0;
}

}  // namespace evictlab::cli
