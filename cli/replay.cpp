#include "sim/replay.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "cli/replay_summary.hpp"
#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/progress.hpp"
#include "sim/registry.hpp"
#include "sim/summary.hpp"
#include "trace/io/reader.hpp"
#include "trace/io/retention_file.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

/// What replay writes: the table asked for, its companions beside it, and the kept positions where asked for.
struct ReplayFiles {
  fs::path replay;
  fs::path budgets;
  fs::path positions;
  fs::path trajectory;
  std::optional<fs::path> constraints;
  std::optional<fs::path> kept;

  ReplayFiles(const Outputs& outputs, const Options& options)
      : replay(outputs.plan(options.path("out"))),
        budgets(outputs.plan(replay.parent_path() / "budgets.csv")),
        positions(outputs.plan(replay.parent_path() / "positions.csv")),
        trajectory(outputs.plan(replay.parent_path() / "trajectory.csv")) {
    const fs::path manifest = outputs.plan(Outputs::manifest_path(replay));
    if (options.has("kept")) kept = outputs.plan(options.path("kept"));
    if (options.has("constrain")) constraints = outputs.plan(replay.parent_path() / "constraints.csv");
    std::set<fs::path> different;
    for (const fs::path& path : {replay, budgets, positions, trajectory, manifest, constraints.value_or("constraints"),
                                 kept.value_or("kept")}) {
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
  sim::MakeOptions make;
  make.left_out = [](const std::string& reason) { std::cerr << "left out: " << reason << '\n'; };
  if (const auto protect = options.optional_text("protect")) {
    make.constraints.emplace_back("protect", sim::protect_value(*protect));
  }
  if (const auto variant = options.optional_text("variant")) {
    make.variant = *variant;
    if (!sim::is_variant(*variant)) throw core::InputError("replay: no policy has the variant '{}'", *variant);
  }
  return sim::make_policies(options.text("policy"), make);
}

/// Adds the policies as --constrain forces them to be; returns which belong to which.
std::vector<sim::ConstrainedPair> add_constrained(const std::string& text, std::vector<sim::Policy>& policies) {
  const sim::KeyValues constraints = sim::parse_constraints(text);
  std::vector<sim::ConstrainedPair> pairs;
  const std::size_t free_count = policies.size();
  for (std::size_t i = 0; i < free_count; ++i) {
    try {
      sim::Policy constrained =
          sim::make_policy(sim::with_defaults(sim::parse_policy(policies[i].text()), constraints));
      if (constrained.text() == policies[i].text()) continue;
      pairs.push_back({policies[i].name, policies[i].parameters, constrained.parameters, text});
      policies.push_back(std::move(constrained));
    } catch (const sim::ImpossiblePolicy& error) {
      std::cerr << "left out: " << error.what() << '\n';
    }
  }
  return pairs;
}

/// The policies that every prompt of the trace can serve; says which cannot be and why. Throws when none can.
std::vector<sim::Policy> usable_policies(const std::vector<sim::Policy>& policies, const trace::Source& trace) {
  std::vector<sim::Policy> usable;
  std::string reason;
  for (const sim::Policy& policy : policies) {
    try {
      for (const trace::PromptInfo& prompt : trace.prompts()) sim::check_needs(policy, prompt);
      usable.push_back(policy);
    } catch (const sim::PolicyError& error) {
      reason = error.what();
      if (policies.size() > 1) std::cerr << "left out: " << reason << '\n';
    }
  }
  if (usable.empty()) throw sim::PolicyError("{}", reason);
  return usable;
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
void report_status(const analysis::Table& replay) {
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

void report_conversions(const trace::Source& trace, const std::vector<sim::Budget>& budgets) {
  std::set<std::string> said;
  for (const sim::Budget& budget : budgets) {
    for (const trace::PromptInfo& prompt : trace.prompts()) {
      const std::string text = budget.conversion(trace.model(), prompt.prompt_length);
      if (!text.empty() && said.insert(text).second && said.size() <= 8) std::cerr << "budget: " << text << '\n';
    }
  }
}

}  // namespace

int run_replay(const Arguments& arguments) {
  Options options(
      "replay", "TRACE --policy LIST --budget LIST --out replay.csv [OPTION ...]",
      "Replays eviction policies at budgets from a recorded trace: what each keeps, what that costs, and how far\n"
      "it is from the oracle. Writes the table, budgets.csv and positions.csv beside it, and a manifest.");
  options.positional("trace", "the trace: a file or a directory of parts", Options::Count::kOne);
  options.value("policy", "LIST", "", "policies: snapkv,streaming-llm(sinks=8),...; see evictlab policies");
  options.value("budget", "LIST", "",
                "stored slots per layer divided by the kv heads, protection included: 128, 0.05 (ratio of the prompt), "
                "64MiB, 16:4096:log32");
  options.value("out", "FILE.csv", "", "the table to write");
  options.value("protect", "sinks=S,window=W", "", "protect these positions under every policy, instead of its own");
  options.value("variant", "NAME", "", "follow this source where a policy has it: kvpress, paper, ...");
  options.value(
      "constrain", "LIST", "",
      "also replay every policy under constraints and report what they cost: share=kv|layer (one kept set for "
      "all heads of), blocks=16 (kept in blocks), layers=uniform");
  options.value("kept", "FILE.h5", "", "also write which positions were kept");
  declare_threads(options);
  options.flag("force", "replace existing results");
  if (!options.parse(arguments)) return 0;

  use_threads(options);
  std::vector<sim::Policy> asked = asked_policies(options);
  std::vector<sim::ConstrainedPair> pairs;
  if (const auto constraints = options.optional_text("constrain")) pairs = add_constrained(*constraints, asked);
  const std::vector<sim::Budget> budgets = sim::parse_budgets(options.text("budget"));
  const Outputs outputs(options.has("force"));
  const ReplayFiles files(outputs, options);
  const trace::TraceReader trace(options.path("trace"));
  const std::vector<sim::Policy> policies = usable_policies(asked, trace);
  report_conversions(trace, budgets);

  std::unique_ptr<trace::RetentionWriter> kept;
  sim::ReplayOptions replay_options;
  if (files.kept) {
    Outputs::make_parent(*files.kept);
    kept = std::make_unique<trace::RetentionWriter>(*files.kept, command_line(), options.has("force"));
    replay_options.retention = [&](const sim::RetentionRecord& record) { write_retention(*kept, record); };
  }
  sim::ReplayResult result;
  {
    std::unique_ptr<core::Progress> progress;
    replay_options.progress = [&](double done, double total) {
      if (!progress) progress = std::make_unique<core::Progress>("replaying", total, "layers");
      progress->advance_to(done);
    };
    result = sim::replay(trace, policies, budgets, replay_options);
  }
  report_status(result.replay);
  for (const auto& [note, count] : result.notes) std::cerr << fmt::format("note: {} ({} x)\n", note, count);

  outputs.write_table(files.replay, result.replay);
  outputs.write_table(files.budgets, result.budgets);
  outputs.write_table(files.positions, result.positions);
  outputs.write_table(files.trajectory, result.trajectory);
  if (files.constraints) outputs.write_table(*files.constraints, sim::constraint_costs(result.replay, pairs));
  nlohmann::ordered_json texts;
  for (const sim::Policy& policy : policies) texts.push_back(policy.text());
  outputs.write_manifest(files.replay, {{"trace", options.text("trace")},
                                        {"model", trace.model().name},
                                        {"model_fingerprint", trace.model().fingerprint},
                                        {"prompts", trace.prompts().size()},
                                        {"policies", texts},
                                        {"budgets", options.text("budget")}});
  if (kept) kept->finish();
  std::cout << replay_summary(sim::summarize(result.replay));
  if (files.constraints) std::cout << constraints_summary(sim::constraint_costs(result.replay, pairs));
  std::cerr << fmt::format("wrote {}, {}, {}, {}{}\n", files.replay.string(), files.budgets.filename().string(),
                           files.positions.filename().string(), files.trajectory.filename().string(),
                           files.constraints ? ", " + files.constraints->filename().string() : "");
  return 0;
}

}  // namespace evictlab::cli
