#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <set>

#include "cli/common_options.hpp"
#include "cli/outputs.hpp"
#include "cli/policy_options.hpp"
#include "cli/prompt_options.hpp"
#include "cli/prompt_parts.hpp"
#include "cli/ranks.hpp"
#include "cli/validate_tables.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "core/interrupt.hpp"
#include "core/progress.hpp"
#include "core/version.hpp"
#include "results/calibration.hpp"
#include "trace/io/hash.hpp"

namespace evictlab::cli {
namespace {

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
    if (aloud && policies.size() > 1) std::cerr << fmt::format("left out: {}\n", reason);
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

/// How the answers of `prompts` become text: numbers where nothing is text.
runtime::Detokenizer detokenizer(const std::vector<runtime::Prompt>& prompts, const ModelTokenizer& tokenizer) {
  if (!is_tokenized(prompts)) {
    const runtime::TextTokenizer* known = &tokenizer.get();
    return {[known](std::span<const std::int32_t> ids) { return known->decode(ids, true); },
            [known](std::span<const std::int32_t> ids) { return known->decode(ids, false); }};
  }
  const auto numbers = [](std::span<const std::int32_t> ids) { return fmt::format("{}", fmt::join(ids, " ")); };
  return {numbers, numbers};
}

/// A replay table to compare with. What it lacks is said before the work, not after.
results::Table read_replay(const std::string& file, const std::vector<runtime::TokenizedPrompt>& prompts) {
  results::Table replay = results::Table::from_csv(core::read_text(file), file);
  results::require_replay_columns(replay);
  const std::size_t prompt = replay.column("prompt");
  std::set<std::string> ids;
  for (std::size_t row = 0; row < replay.rows(); ++row) ids.insert(replay.text(row, prompt));
  for (const runtime::TokenizedPrompt& one : prompts) {
    if (!ids.contains(one.id)) throw core::InputError("{}: has no row of prompt '{}'", file, one.id);
  }
  return replay;
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
  const ValidateFiles files(outputs, options.path("out"), options.has("replay"));
  runtime::RecordOptions record;
  record.tier = trace::Tier::kFull;
  record.window = options.integer("window", 1, 65536);
  record.dtype = dtype_of(options);
  const runtime::TokenizeOptions tokenization = tokenize_options(options);
  const ModelTokenizer tokenizer(options.path("model"));
  const std::vector<runtime::Prompt> read = gather_prompts(options, tokenizer);
  std::vector<sim::Policy> policies = asked_policies(options, ranks.first());
  const std::vector<sim::Budget> budgets = sim::parse_budgets(options.text("budget"));

  const runtime::Transformer model(options.path("model"));
  const trace::ModelInfo info = runtime::model_info(model);
  const std::vector<runtime::TokenizedPrompt> prompts = tokenize_all(read, tokenizer, model, record, tokenization);
  std::optional<results::Table> replay;
  if (options.has("replay")) replay = read_replay(options.text("replay"), prompts);
  const trace::MemoryTrace known = announced(info, prompts, model, record);
  ValidationPlan plan{model,
                      info,
                      usable_policies(policies, known, ranks.first()),
                      budgets,
                      record,
                      detokenizer(read, tokenizer),
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
      std::cerr << fmt::format("finished prompts are kept in {}/parts; the same command goes on\n",
                               options.text("out"));
    throw;
  }
  ranks.wait_for_all();
  if (ranks.first()) finish_validation(plan, prompts, parts, files, outputs, replay, what);
  ranks.wait_for_all();
  return 0;
}

}  // namespace evictlab::cli
