#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <ranges>
#include <set>

#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "cli/policy_options.hpp"
#include "cli/prompt_parts.hpp"
#include "cli/ranks.hpp"
#include "cli/sweep_summary.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "core/version.hpp"
#include "results/summary.hpp"
#include "sim/policy/compose.hpp"
#include "sim/replay/replay.hpp"
#include "sim/replay/tuning.hpp"
#include "trace/io/hash.hpp"
#include "trace/io/joined.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNotes = 12;  // hundreds of policies have hundreds

void declare(Options& options) {
  options.positional("trace", "the traces, of one model: files or directories of parts", Options::Count::kMany);
  declare_policies(options);
  options.value("out", "DIR", "", "where to leave the tables: replay.csv, summary.csv, headroom.csv, ...");
  options.flag("matrix", "also every combination of a scorer, an allocator and a selector");
  options.value(
      "tune", "GRID", "",
      "also try these parameters of the policies that have them, chosen on one half of the prompts and told on "
      "the other: tau1=0.4:2:log5,tau2=0.5|1|2");
  options.flag("layers", "also a row per layer in replay.csv, budgets.csv and trajectory.csv");
  options.value("headroom", "yes|no", "yes", "what better scoring and allocation could gain: headroom.csv");
  declare_threads(options);
  options.flag("force", "replace existing results, and start over");
}

/// What is to be replayed.
struct Asked {
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

/// The matrix' policies that can be, under what is set for all; the reasons of the others go to `left_out`.
std::vector<sim::Policy> matrix(const sim::MakeOptions& defaults, std::map<std::string, std::string>& left_out) {
  std::vector<sim::Policy> policies;
  for (const std::string& text : sim::compose_matrix()) {
    try {
      add_new(policies, {sim::make_policy(sim::with_defaults(sim::parse_policy(text), defaults.constraints))});
    } catch (const sim::ImpossiblePolicy& error) {
      left_out[text] = error.what();
    }
  }
  return policies;
}

Asked asked(const Options& options, bool aloud) {
  sim::MakeOptions make = make_options(options);
  if (!aloud) make.left_out = [](const std::string&) {};
  Asked asked;
  if (options.has("policy") || !options.has("matrix")) {
    asked.policies = sim::make_policies(options.text("policy"), make);
  }
  if (options.has("matrix")) {
    std::map<std::string, std::string> left_out;
    add_new(asked.policies, matrix(make, left_out));
    for (const auto& [policy, reason] : left_out) {
      if (aloud) std::cerr << fmt::format("left out: {}: {}\n", policy, reason);
    }
  }
  if (const auto grid = options.optional_text("tune")) {
    std::vector<sim::PolicySpec> given;
    for (const sim::Policy& policy : asked.policies) given.push_back(sim::parse_policy(policy.text()));
    asked.tuned = sim::tuned_policies(given, sim::parse_grid(*grid));
    if (asked.tuned.empty()) throw core::InputError("sweep: no policy has all parameters of --tune '{}'", *grid);
    for (const sim::TunedPolicy& tuned : asked.tuned) add_new(asked.policies, tuned.candidates);
  }
  asked.budgets = sim::parse_budgets(options.text("budget"));
  return asked;
}

/// Everything that the tables depend on.
nlohmann::ordered_json settings(const trace::Source& trace, const Asked& asked, bool layers, bool headroom) {
  nlohmann::ordered_json settings;
  settings["version"] = core::version();
  settings["model"] = trace.model().fingerprint;
  for (trace::Index i = 0; const trace::PromptInfo& prompt : trace.prompts()) {
    const std::vector<std::int32_t> tokens = trace.tokens(i++);
    settings["prompts"].push_back({prompt.id, prompt.prompt_length, prompt.future_length, prompt.window,
                                   trace::tier_name(prompt.tier),
                                   trace::content_hash(std::as_bytes(std::span(tokens)))});
  }
  for (const sim::Policy& policy : asked.policies) settings["policies"].push_back(policy.text());
  for (const sim::Budget& budget : asked.budgets) settings["budgets"].push_back(budget.text());
  settings["layers"] = layers;
  settings["headroom"] = headroom;
  return settings;
}

/// Where the tables go; those planned are not there yet.
struct SweepFiles {
  fs::path replay, summary, headroom;
  std::optional<fs::path> budgets, trajectory, tuning;

  SweepFiles(const Outputs& outputs, const Options& options) {
    const fs::path out = options.path("out");
    if (fs::exists(out) && !fs::is_directory(out)) throw core::InputError("{}: is not a directory", out.string());
    replay = outputs.plan(out / "replay.csv");
    summary = outputs.plan(out / "summary.csv");
    headroom = out / "headroom.csv";
    if (options.choice("headroom", {"yes", "no"}) == "yes") outputs.plan(headroom);
    if (options.has("layers")) budgets = outputs.plan(out / "budgets.csv");
    if (options.has("layers")) trajectory = outputs.plan(out / "trajectory.csv");
    if (options.has("tune")) tuning = outputs.plan(out / "tune.csv");
    outputs.plan(Outputs::manifest_path(replay));
  }
};

/// The rows over all layers.
results::Table whole_prompt_rows(const results::Table& replay) {
  results::Table rows(replay.columns());
  const std::size_t layer = replay.column("layer");
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    if (replay.text(row, layer) == "all") rows.add_row(replay.row(row));
  }
  return rows;
}

/// Replays this rank's share of what is left to do.
void replay_share(const trace::Source& trace, const Asked& asked, const PromptParts& parts, const Ranks& ranks,
                  const std::vector<trace::Index>& left, bool layers, bool headroom) {
  sim::ReplayOptions replay;
  for (std::size_t i = static_cast<std::size_t>(ranks.rank()); i < left.size();
       i += static_cast<std::size_t>(ranks.count())) {
    replay.prompts.push_back(left[i]);
  }
  if (replay.prompts.empty()) return;
  replay.positions = false;
  replay.headroom = headroom;
  if (ranks.first()) {
    replay.progress =
        layer_progress(ranks.count() > 1 ? fmt::format("sweeping (rank 0 of {})", ranks.count()) : "sweeping");
  }
  replay.finished = [&](trace::Index prompt, sim::ReplayResult&& result) {
    if (!layers) {
      result.replay = whole_prompt_rows(result.replay);
      result.budgets = results::Table(result.budgets.columns());
      result.trajectory = results::Table(result.trajectory.columns());
    }
    parts.write(trace.prompts()[static_cast<std::size_t>(prompt)].id, {{{"replay", &result.replay},
                                                                        {"headroom", &result.headroom},
                                                                        {"budgets", &result.budgets},
                                                                        {"trajectory", &result.trajectory}},
                                                                       result.notes});
  };
  sim::replay(trace, asked.policies, asked.budgets, replay);
}

/// Says how many combinations could not be run; throws, leaving nothing behind, when all could not.
void report_infeasible(const results::Table& replay, const PromptParts& parts) {
  std::set<std::string> all;
  std::set<std::string> infeasible;
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    const auto text = [&](const char* column) { return replay.text(row, replay.column(column)); };
    const std::string run = text("policy") + "(" + text("parameters") + ") at " + text("budget_requested");
    all.insert(run);
    if (text("status") == "infeasible") infeasible.insert(run);
  }
  const bool none_ran = std::ranges::all_of(std::views::iota(std::size_t{0}, replay.rows()), [&](std::size_t row) {
    return replay.text(row, replay.column("status")) == "infeasible";
  });
  if (none_ran) {
    parts.remove();
    throw core::InputError("sweep: every policy protects more than every budget holds; raise --budget");
  }
  if (infeasible.empty()) return;
  std::cerr << fmt::format("left out: {} of {} combinations are below what is protected: status in the table\n",
                           infeasible.size(), all.size());
}

/// Makes the tables of the finished parts, and says what they show.
void finish(const trace::Source& trace, const Asked& asked, const PromptParts& parts, const SweepFiles& files,
            const Outputs& outputs, const nlohmann::ordered_json& settings) {
  std::vector<std::string> ids;
  for (const trace::PromptInfo& prompt : trace.prompts()) ids.push_back(prompt.id);
  PromptParts::Merged merged = parts.merge(ids);
  report_notes(merged.notes, kMostNotes);
  const results::Table replay = results::Table::from_csv(merged.tables["replay"], files.replay.string());
  report_infeasible(replay, parts);
  std::set<std::string> tried;
  for (const sim::TunedPolicy& tuned : asked.tuned) {
    for (const sim::Policy& policy : tuned.candidates) tried.insert(policy.text());
  }
  const results::Table summary = results::summarize(without_policies(replay, tried));
  Outputs::make_parent(files.replay);
  if (!merged.tables["headroom"].empty()) core::write_text(files.headroom, merged.tables["headroom"]);
  if (files.budgets) core::write_text(*files.budgets, merged.tables["budgets"]);
  if (files.trajectory) core::write_text(*files.trajectory, merged.tables["trajectory"]);
  outputs.write_table(files.summary, summary);
  std::cout << sweep_summary(summary);
  if (!merged.tables["headroom"].empty()) {
    const auto headroom = results::Table::from_csv(merged.tables["headroom"], files.headroom.string());
    std::cout << headroom_summary(without_policies(headroom, tried));
  }
  if (files.tuning) {
    const results::Table tuning = sim::tuning(replay, asked.tuned);
    outputs.write_table(*files.tuning, tuning);
    std::cout << tuning_summary(tuning);
  }
  nlohmann::ordered_json details = {{"model", trace.model().name}, {"prompts", ids.size()}};
  for (const char* key : {"policies", "budgets"}) details[key] = settings.at(key);
  outputs.write_manifest(files.replay, details);
  core::write_text(files.replay, merged.tables["replay"]);  // last: with it the sweep is done
  parts.remove();
  std::cerr << fmt::format("wrote {}, summary.csv{}{}{}\n", files.replay.string(),
                           merged.tables["headroom"].empty() ? "" : ", headroom.csv",
                           files.budgets ? ", budgets.csv, trajectory.csv" : "", files.tuning ? ", tune.csv" : "");
}

}  // namespace

int run_sweep(const Arguments& arguments) {
  Options options(
      "sweep", "TRACE ... --policy LIST --budget LIST --out DIR [OPTION ...]",
      "Replays every policy at every budget of a range: one ranking a policy serves all budgets. Tells how\n"
      "far each is from the best possible, and whether better scoring or better allocation could gain it.\n"
      "A sweep that was stopped goes on with the same command. Under mpirun, prompts are spread over ranks.");
  declare(options);
  Ranks ranks;
  // The first rank looks before the others: what is wrong is said once.
  if (!ranks.first()) ranks.wait_for_all();
  if (!options.parse(arguments)) {
    if (ranks.first()) ranks.wait_for_all();
    return 0;
  }
  use_threads(options);
  const Outputs outputs(options.has("force"));
  const PromptParts parts(options.path("out"), "sweep");
  const SweepFiles files(outputs, options);
  const bool headroom = options.choice("headroom", {"yes", "no"}) == "yes";
  std::vector<fs::path> paths;
  for (const std::string& path : options.list("trace")) paths.emplace_back(path);
  const auto trace = trace::open_traces(paths);
  Asked all = asked(options, ranks.first());
  all.policies = usable_policies(all.policies, *trace, ranks.first());
  const nlohmann::ordered_json what = settings(*trace, all, options.has("layers"), headroom);
  if (ranks.first()) {
    report_conversions(*trace, all.budgets);
    parts.open(what, options.has("force"));
    ranks.wait_for_all();
  }
  std::vector<trace::Index> left;
  for (trace::Index i = 0; const trace::PromptInfo& prompt : trace->prompts()) {
    if (!parts.contains(prompt.id)) left.push_back(i);
    ++i;
  }
  if (ranks.first() && left.size() < trace->prompts().size()) {
    std::cerr << fmt::format("going on: {} of {} prompts are finished\n", trace->prompts().size() - left.size(),
                             trace->prompts().size());
  }
  ranks.wait_for_all();  // everyone has looked before anyone adds to it
  try {
    replay_share(*trace, all, parts, ranks, left, options.has("layers"), headroom);
  } catch (const core::Interrupted&) {
    if (ranks.first())
      std::cerr << fmt::format("finished prompts are kept in {}/parts; the same command goes on\n",
                               options.text("out"));
    throw;
  }
  ranks.wait_for_all();
  if (ranks.first()) finish(*trace, all, parts, files, outputs, what);
  ranks.wait_for_all();
  return 0;
}

}  // namespace evictlab::cli
