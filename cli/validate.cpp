#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <optional>
#include <set>

#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "cli/policy_options.hpp"
#include "cli/prompt_options.hpp"
#include "cli/prompt_parts.hpp"
#include "cli/ranks.hpp"
#include "cli/validate_rows.hpp"
#include "cli/validate_summary.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "core/progress.hpp"
#include "core/version.hpp"
#include "sim/calibration.hpp"
#include "sim/needle_grid.hpp"
#include "sim/outcomes.hpp"
#include "trace/io/hash.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNotes = 12;

void declare(Options& options) {
  declare_prompts(options);
  declare_policies(options);
  options.value("out", "DIR", "", "where to leave the tables: validate.csv, outcomes.csv, calibration.csv, ...");
  options.value("window", "N", "64", "observation window: how many of the last prompt queries policies and replay see");
  options.value("dtype", "TYPE", "float32", "of the queries, keys and values that replay reads: float16 or float32");
  declare_tokenizing(options);
  options.value("max-tokens", "N", "0",
                "write at most N tokens; 0: as many as the answer has, and 16 more where a stop must follow");
  options.value("replay", "FILE", "", "a replay.csv of the same prompts to compare with, instead of replaying here");
  declare_threads(options);
  options.flag("force", "replace existing results, and start over");
}

/// The policies asked for, and the full cache.
std::vector<sim::Policy> asked_policies(const Options& options, bool aloud) {
  sim::MakeOptions make = make_options(options);
  if (!aloud) make.left_out = [](const std::string&) {};
  std::vector<sim::Policy> policies = sim::make_policies(options.text("policy"), make);
  std::string reason;
  std::erase_if(policies, [&](const sim::Policy& policy) {
    if (!policy.decoding || !policy.decoding->needs_future()) return false;
    reason = fmt::format("policy '{}' evicts by the future while it decodes, which a running model does not know",
                         policy.label());
    if (aloud && policies.size() > 1) std::cerr << "left out: " << reason << '\n';
    return true;
  });
  if (policies.empty()) throw sim::ImpossiblePolicy("{}", reason);
  const bool has_full = std::ranges::any_of(policies, [](const sim::Policy& one) { return one.name == "full"; });
  if (!has_full) policies.insert(policies.begin(), sim::make_policy("full"));
  return policies;
}

/// What is known of the prompts before any is read, as a trace would tell it.
trace::MemoryTrace announced(const trace::ModelInfo& info, const std::vector<runtime::TokenizedPrompt>& prompts,
                             const runtime::Transformer& model, const runtime::RecordOptions& record) {
  trace::MemoryTrace trace(info);
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    trace::PromptInfo described = runtime::recorded_info(prompt, model.config(), record);
    if (prompt.generate > 0) described.future_length = prompt.generate;
    const std::size_t layers = described.layers.size();
    trace.add_prompt({std::move(described), prompt.tokens, std::vector<trace::LayerData>(layers)});
  }
  return trace;
}

runtime::Detokenizer detokenizer(const std::optional<runtime::Tokenizer>& tokenizer) {
  if (tokenizer) {
    const runtime::Tokenizer* known = &*tokenizer;
    return {[known](std::span<const std::int32_t> ids) { return known->decode(ids, true); },
            [known](std::span<const std::int32_t> ids) { return known->decode(ids, false); }};
  }
  const auto numbers = [](std::span<const std::int32_t> ids) { return fmt::format("{}", fmt::join(ids, " ")); };
  return {numbers, numbers};
}

/// Everything that the tables depend on.
nlohmann::ordered_json settings(const ValidationPlan& plan, const std::vector<runtime::TokenizedPrompt>& prompts,
                                const Options& options) {
  nlohmann::ordered_json settings;
  settings["version"] = core::version();
  settings["model"] = plan.info.fingerprint;
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    std::vector<std::int32_t> tokens = runtime::recorded_tokens(prompt);
    for (const auto& next : prompt.followups) {
      tokens.insert(tokens.end(), next.given.begin(), next.given.end());
      tokens.insert(tokens.end(), next.answer.begin(), next.answer.end());
    }
    settings["prompts"].push_back({prompt.id, prompt.tokens.size(), prompt.future.size(), prompt.generate, prompt.stop,
                                   prompt.metric, trace::content_hash(std::as_bytes(std::span(tokens)))});
  }
  for (const sim::Policy& policy : plan.policies) settings["policies"].push_back(policy.text());
  for (const sim::Budget& budget : plan.budgets) settings["budgets"].push_back(budget.text());
  for (const char* name : {"window", "dtype", "evict-at", "max-tokens"}) settings[name] = options.text(name);
  settings["replay"] = plan.replay;
  return settings;
}

/// Where the tables go.
struct ValidateFiles {
  fs::path validate, outcomes, calibration, predictions, disagreements;
  std::optional<fs::path> replay, spans, needles;

  ValidateFiles(const Outputs& outputs, const Options& options) {
    const fs::path out = options.path("out");
    if (fs::exists(out) && !fs::is_directory(out)) throw core::InputError("{}: is not a directory", out.string());
    validate = outputs.plan(out / "validate.csv");
    outcomes = outputs.plan(out / "outcomes.csv");
    calibration = outputs.plan(out / "calibration.csv");
    predictions = outputs.plan(out / "predictions.csv");
    disagreements = outputs.plan(out / "disagreements.csv");
    if (!options.has("replay")) {
      replay = outputs.plan(out / "replay.csv");
      spans = outputs.plan(out / "spans.csv");
      needles = outputs.plan(out / "needles.csv");
    }
    outputs.plan(Outputs::manifest_path(validate));
  }
};

void report_status(const analysis::Table& validate, const PromptParts& parts) {
  std::set<std::string> infeasible;
  bool any = false;
  for (std::size_t row = 0; row < validate.rows(); ++row) {
    const auto text = [&](const char* column) { return validate.text(row, validate.column(column)); };
    if (text("status") == "infeasible") {
      infeasible.insert(fmt::format("{} at {}", text("policy"), text("budget_requested")));
    } else {
      any = any || text("policy") != "full";
    }
  }
  if (!any && !infeasible.empty()) {
    parts.remove();
    throw core::InputError("validate: every policy protects more than every budget holds; raise --budget");
  }
  for (const std::string& what : infeasible)
    std::cerr << fmt::format("left out: {} is below what is protected\n", what);
}

void finish(const ValidationPlan& plan, const std::vector<runtime::TokenizedPrompt>& prompts, const PromptParts& parts,
            const ValidateFiles& files, const Outputs& outputs, const Options& options,
            const nlohmann::ordered_json& what) {
  std::vector<std::string> ids;
  for (const runtime::TokenizedPrompt& prompt : prompts) ids.push_back(prompt.id);
  PromptParts::Merged merged = parts.merge(ids);
  report_notes(merged.notes, kMostNotes);
  const analysis::Table validate = analysis::Table::from_csv(merged.tables["validate"], files.validate.string());
  report_status(validate, parts);
  const std::string replay_file = files.replay ? files.replay->string() : options.text("replay");
  const std::string replay_text = files.replay ? merged.tables["replay"] : core::read_text(replay_file);
  const analysis::Table replay = analysis::Table::from_csv(replay_text, replay_file);

  const analysis::Table outcomes = sim::outcomes(validate);
  const sim::Calibration calibration = sim::calibrate(validate, replay);
  Outputs::make_parent(files.validate);
  if (files.replay) core::write_text(*files.replay, replay_text);
  if (files.spans && !merged.tables["spans"].empty()) {
    core::write_text(*files.spans, merged.tables["spans"]);
    const analysis::Table spans = analysis::Table::from_csv(merged.tables["spans"], files.spans->string());
    outputs.write_table(*files.needles, sim::needle_grid(validate, spans));
  }
  outputs.write_table(files.outcomes, outcomes);
  outputs.write_table(files.calibration, calibration.measures);
  outputs.write_table(files.predictions, calibration.predictions);
  outputs.write_table(files.disagreements, calibration.disagreements);
  std::cout << validate_summary(outcomes) << calibration_summary(calibration);
  nlohmann::ordered_json details = {{"model", plan.info.name},
                                    {"model_fingerprint", plan.info.fingerprint},
                                    {"prompts", ids.size()},
                                    {"bootstrap_seed", analysis::BootstrapOptions{}.seed}};
  for (const char* key : {"policies", "budgets", "window", "dtype", "evict-at"}) details[key] = what.at(key);
  outputs.write_manifest(files.validate, details);
  core::write_text(files.validate, merged.tables["validate"]);  // last: with it the validation is done
  parts.remove();
  std::cerr << fmt::format("wrote {}, outcomes.csv, calibration.csv, predictions.csv, disagreements.csv{}\n",
                           files.validate.string(), files.replay ? ", replay.csv, spans.csv, needles.csv" : "");
}

/// Validates this rank's share of what is left to do.
void validate_share(const ValidationPlan& plan, const std::vector<const runtime::TokenizedPrompt*>& left,
                    const PromptParts& parts, const Ranks& ranks) {
  std::vector<const runtime::TokenizedPrompt*> own;
  for (std::size_t i = static_cast<std::size_t>(ranks.rank()); i < left.size();
       i += static_cast<std::size_t>(ranks.count())) {
    own.push_back(left[i]);
  }
  const auto runs = static_cast<double>(plan.policies.size() * plan.budgets.size());
  std::optional<core::Progress> progress;
  if (ranks.first()) progress.emplace("validating", runs * static_cast<double>(own.size()), "runs");
  for (std::size_t i = 0; i < own.size(); ++i) {
    const ValidatedPrompt result = validate_prompt(plan, *own[i], [&](double done) {
      if (progress) progress->advance_to(runs * static_cast<double>(i) + done);
    });
    parts.write(own[i]->id,
                {{{"validate", &result.validate}, {"replay", &result.replay.replay}, {"spans", &result.replay.spans}},
                 result.replay.notes});
  }
}

}  // namespace

int run_validate(const Arguments& arguments) {
  Options options(
      "validate", "--model DIR --prompts FILE.jsonl --policy LIST --budget LIST --out DIR [OPTION ...]",
      "Runs the model with its KV cache really compacted by every policy at every budget: what becomes of its\n"
      "next-token distributions and its answers, and how well the replay of the same prompts predicts it.\n"
      "One that was stopped goes on with the same command. Under mpirun, prompts are spread over ranks.");
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
  const PromptParts parts(options.path("out"), "validate");
  const ValidateFiles files(outputs, options);
  if (options.has("replay")) analysis::Table::from_csv(core::read_text(options.text("replay")), options.text("replay"));
  runtime::RecordOptions record;
  record.tier = trace::Tier::kFull;
  record.window = options.integer("window", 1, 65536);
  record.dtype = dtype_of(options);
  const runtime::TokenizeOptions tokenization = tokenize_options(options);
  const std::vector<runtime::Prompt> read = gather_prompts(options);
  std::vector<sim::Policy> policies = asked_policies(options, ranks.first());
  const std::vector<sim::Budget> budgets = sim::parse_budgets(options.text("budget"));

  const runtime::Transformer model(options.path("model"));
  const trace::ModelInfo info = runtime::model_info(model);
  const auto tokenizer = tokenizer_for(read, model);
  const std::vector<runtime::TokenizedPrompt> prompts = tokenize_all(read, tokenizer, model, record, tokenization);
  const trace::MemoryTrace known = announced(info, prompts, model, record);
  ValidationPlan plan{model,
                      info,
                      usable_policies(policies, known, ranks.first()),
                      budgets,
                      record,
                      detokenizer(tokenizer),
                      static_cast<std::size_t>(options.integer("max-tokens", 0, 1'000'000)),
                      !options.has("replay")};
  for (trace::Index layer = 0; plan.replay && layer < info.layers; ++layer) {
    plan.output_weights.push_back(model.output_weight(layer));
  }
  const nlohmann::ordered_json what = settings(plan, prompts, options);
  if (ranks.first()) {
    report_conversions(known, budgets);
    parts.open(what, options.has("force"));
    ranks.wait_for_all();
  }
  std::vector<const runtime::TokenizedPrompt*> left;
  for (const runtime::TokenizedPrompt& prompt : prompts) {
    if (!parts.contains(prompt.id)) left.push_back(&prompt);
  }
  if (ranks.first() && left.size() < prompts.size()) {
    std::cerr << fmt::format("going on: {} of {} prompts are finished\n", prompts.size() - left.size(), prompts.size());
  }
  ranks.wait_for_all();  // everyone has looked before anyone adds to it
  try {
    validate_share(plan, left, parts, ranks);
  } catch (const core::Interrupted&) {
    if (ranks.first())
      std::cerr << "finished prompts are kept in " << options.text("out") << "/parts; the same command goes on\n";
    throw;
  }
  ranks.wait_for_all();
  if (ranks.first()) finish(plan, prompts, parts, files, outputs, options, what);
  ranks.wait_for_all();
  return 0;
}

}  // namespace evictlab::cli
