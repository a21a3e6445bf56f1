#include "lab/validate.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/error.hpp"
#include "core/file.hpp"
#include "lab/live_setup.hpp"
#include "lab/result_folder.hpp"
#include "lab/resumable.hpp"
#include "lab/validation_rows.hpp"
#include "results/calibration_file.hpp"
#include "results/outcomes.hpp"
#include "results/rows.hpp"
#include "results/run_table.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

/// A replay table to compare with. What it lacks is reported before the work, not after.
results::Table read_replay(const fs::path& file, const std::vector<runtime::TokenizedPrompt>& prompts) {
  results::Table replay = results::Table::from_csv(core::read_text(file), file.string());
  results::require_replay_columns(replay);
  std::set<std::string> ids;
  for (const results::RowView row : results::RowsOf(replay)) ids.insert(row.prompt());
  for (const runtime::TokenizedPrompt& one : prompts) {
    if (!ids.contains(one.id)) throw core::InputError("{}: has no row of prompt '{}'", file.string(), one.id);
  }
  return replay;
}

/// Reports the policies and budgets of which a replay table has no rows, so that the calibration leaves them out;
/// throws when it has rows of none.
void report_not_replayed(const fs::path& file, const results::Table& replay, const ValidationPlan& plan,
                         Observer& observer) {
  std::set<std::pair<results::PolicyKey, std::string>> replayed;
  for (const results::Run& run : results::runs_over_layers(replay)) replayed.emplace(run.key, run.budget_text);
  std::vector<std::string> lacking;
  std::size_t asked = 0;
  std::size_t found = 0;
  for (const sim::Policy& policy : plan.policies) {
    if (policy.allocator->traits().keeps_everything) continue;
    std::vector<std::string> budgets;
    for (const sim::Budget& budget : plan.budgets) {
      if (!replayed.contains({{policy.name, policy.parameters}, budget.text()})) budgets.push_back(budget.text());
    }
    asked += plan.budgets.size();
    found += plan.budgets.size() - budgets.size();
    if (budgets.size() == plan.budgets.size()) {
      lacking.push_back(policy.label());
    } else if (!budgets.empty()) {
      lacking.push_back(fmt::format("{} at {}", policy.label(), fmt::join(budgets, ", ")));
    }
  }
  if (asked > 0 && found == 0) {
    throw core::InputError("{}: has no rows of any policy and budget asked for: {} at {}", file.string(),
                           fmt::join(lacking, ", "), plan.budgets.front().text());
  }
  for (const std::string& what : lacking) {
    observer.message(Topic::kNote,
                     fmt::format("{} has no rows of {}: the calibration leaves it out", file.string(), what));
  }
}

/// Whether a replay table has rows of layers, but not of all.
bool is_partial(const results::Table& replay, const trace::ModelInfo& model) {
  if (!replay.find_column("layer")) return false;
  std::set<std::string> layers;
  for (const results::RowView row : results::RowsOf(replay)) layers.insert(row.text("layer"));
  layers.erase(std::string(results::kAllLayers));
  return !layers.empty() && static_cast<trace::Index>(layers.size()) < model.layers;
}

/// Where the tables go; those of the replay only where there is no other to compare with.
struct ValidateFiles {
  fs::path validate, outcomes, calibration, errors, learned, predictions, disagreements, replay, spans, needles, curves;

  ValidateFiles(const ValidateOptions& options, ResultFolder& folder)
      : validate(options.out / "validate.csv"),
        outcomes(options.out / "outcomes.csv"),
        calibration(options.out / "calibration.csv"),
        errors(options.out / "prediction_errors.csv"),
        learned(options.out / "calibration.json"),
        predictions(options.out / "predictions.csv"),
        disagreements(options.out / "disagreements.csv"),
        replay(options.out / "replay.csv"),
        spans(options.out / "spans.csv"),
        needles(options.out / "needles.csv"),
        curves(options.out / "curves.csv") {
    folder.plan_manifest(validate);
    for (const fs::path& path : {validate, outcomes, calibration, errors, learned, predictions, disagreements}) {
      folder.plan(path);
    }
    if (!options.replay) {
      for (const fs::path& path : {replay, spans, needles, curves}) folder.plan(path);
    }
  }
};

/// Validates these prompts and adds them to the checkpoint.
void validate_share(const ValidationPlan& plan, const std::vector<runtime::TokenizedPrompt>& prompts,
                    const std::vector<std::size_t>& share, PromptCheckpoint& checkpoint, Observer& observer) {
  const auto runs = static_cast<double>(plan.policies.size() * plan.budgets.size());
  const double total = runs * static_cast<double>(share.size());
  const Stage stage{"validating", "runs"};
  for (std::size_t i = 0; i < share.size(); ++i) {
    const runtime::TokenizedPrompt& prompt = prompts[share[i]];
    const ValidatedPrompt result = validate_prompt(plan, prompt, read_prompt(plan, prompt), [&](double done) {
      observer.progress(stage, runs * static_cast<double>(i) + done, total);
    });
    checkpoint.write(prompt.id, {{{"validate", &result.validate},
                                  {"replay", &result.replay.replay},
                                  {"spans", &result.replay.spans},
                                  {"curves", &result.replay.curves}},
                                 result.replay.notes});
  }
}

/// Whether nothing but the full cache could run.
bool nothing_ran_live(const std::vector<results::Run>& runs) {
  return std::ranges::any_of(runs, [](const results::Run& run) { return !run.feasible(); }) &&
         std::ranges::none_of(runs, [](const results::Run& run) {
           return run.feasible() && !results::is_full_cache(run.key, run.role);
         });
}

/// Reports combinations that could not be run.
void report_infeasible_live(const std::vector<results::Run>& runs, Observer& observer) {
  std::set<std::string> infeasible;
  for (const results::Run& run : runs) {
    if (run.status == results::RunStatus::kInfeasible)
      infeasible.insert(fmt::format("{} at {}", run.key.policy, run.budget_text));
  }
  for (const std::string& what : infeasible) {
    observer.message(Topic::kInfeasible, what + " is below what is protected");
  }
}

void write_validation(const ValidateOptions& options, ResultFolder& folder, const ValidateFiles& files,
                      PromptCheckpoint::Merged& merged, const nlohmann::ordered_json& details,
                      ValidateOutcome& outcome) {
  const auto write = [&](const fs::path& path, std::string_view csv) {
    folder.write(path, csv);
    outcome.files.push_back(path);
  };
  write(files.validate, merged.tables["validate"]);
  write(files.outcomes, outcome.outcomes.to_csv());
  write(files.calibration, outcome.calibration.measures.to_csv());
  write(files.errors, outcome.calibration.errors.to_csv());
  if (outcome.calibration.learned) write(files.learned, results::calibration_json(*outcome.calibration.learned));
  write(files.predictions, outcome.calibration.predictions.to_csv());
  write(files.disagreements, outcome.calibration.disagreements.to_csv());
  if (!options.replay) {
    write(files.replay, merged.tables["replay"]);
    write(files.curves, merged.tables["curves"]);
    if (!merged.tables["spans"].empty()) {
      const results::Table spans = results::Table::from_csv(merged.tables["spans"], files.spans.string());
      write(files.spans, merged.tables["spans"]);
      write(files.needles, results::needle_grid(outcome.validate, spans).to_csv());
    }
  }
  folder.write_manifest(files.validate, details);
  folder.commit();
}

}  // namespace

ValidateOutcome validate(const ValidateOptions& options, Observer& observer) {
  Ranks alone = Ranks::alone();
  Ranks& ranks = options.ranks != nullptr ? *options.ranks : alone;
  ResultFolder folder(options.force, options.command,
                      prompt_inputs(options.prompts).add_model(options.model).add(options.replay));
  const ValidateFiles files(options, folder);
  runtime::RecordOptions record = live_record(options);
  const runtime::Transformer model = open_model(options.model, observer);
  const ModelTokenizer tokenizer(options.model);
  const std::vector<runtime::Prompt> read = gather_prompts(options.prompts, tokenizer);
  const std::vector<sim::Policy> policies = live_policies(options.policies, observer);
  record.repeat_chunk = repeat_chunk_for(policies);
  const std::vector<sim::Budget> budgets = sim::parse_budgets(options.budgets);

  const trace::ModelInfo info = runtime::model_info(model);
  std::vector<runtime::TokenizedPrompt> prompts =
      tokenize_all(read, tokenizer, model.config(), record, options.tokenization);
  merge_documents(prompts, observer);
  std::optional<results::Table> replay;
  if (options.replay) replay = read_replay(*options.replay, prompts);
  const trace::MemoryTrace described = described_prompts(info, prompts, model, record);
  ValidationPlan plan{model,
                      info,
                      with_full(usable_policies(policies, described, observer)),
                      budgets,
                      record,
                      detokenizer(read, tokenizer),
                      options.most_tokens,
                      options.teacher_forced,
                      !options.replay};
  if (replay) report_not_replayed(*options.replay, *replay, plan, observer);
  const bool weights_read = plan.replay || std::ranges::any_of(plan.policies, [](const auto& policy) {
                              return policy.needs().output_weight;
                            });
  for (trace::Index layer = 0; weights_read && layer < info.layers; ++layer) {
    plan.output_weights.push_back(model.output_weight(layer));
  }
  ResumableRun run{.settings = validation_settings(plan, prompts, options), .restart = options.force};
  for (const runtime::TokenizedPrompt& prompt : prompts) run.prompts.push_back(prompt.id);
  report_conversions(described, budgets, observer);

  PromptCheckpoint checkpoint(options.out, "validate");
  ValidateOutcome outcome;
  run_resumable(
      run, checkpoint, ranks, observer,
      [&](const std::vector<std::size_t>& share) { validate_share(plan, prompts, share, checkpoint, observer); },
      [&] {
        PromptCheckpoint::Merged merged = checkpoint.merge(run.prompts);
        report_notes(merged.notes, kMostNotes, observer);
        outcome.validate = results::Table::from_csv(merged.tables["validate"], files.validate.string());
        const std::vector<results::Run> runs = results::runs_over_layers(outcome.validate);
        if (nothing_ran_live(runs)) {
          checkpoint.remove();  // no other budget can resume it
          throw core::InputError("validate: {}", why_nothing_ran(runs));
        }
        report_infeasible_live(runs, observer);
        report_too_short(runs, observer);
        if (!replay) replay = results::Table::from_csv(merged.tables["replay"], files.replay.string());
        outcome.outcomes = results::outcomes(outcome.validate);
        std::optional<results::Table> curves;
        if (plan.replay) curves = results::Table::from_csv(merged.tables["curves"], files.curves.string());
        outcome.calibration = results::calibrate(outcome.validate, *replay, curves ? &*curves : nullptr);
        if (options.replay && is_partial(*replay, info)) {
          observer.message(Topic::kNote,
                           fmt::format("{} is of some of the model's {} layers: no calibration is learned",
                                       options.replay->string(), info.layers));
          outcome.calibration.learned.reset();
        }
        if (outcome.calibration.learned) {
          outcome.calibration.learned->model = info.name;
          outcome.calibration.learned->model_fingerprint = info.fingerprint;
          outcome.calibration.learned->window = options.window;
        }
        nlohmann::ordered_json details = {{"model", info.name},
                                          {"model_fingerprint", info.fingerprint},
                                          {"prompts", run.prompts.size()},
                                          {"bootstrap_seed", results::BootstrapOptions{}.seed}};
        for (const char* key : {"policies", "budgets", "window", "dtype", "gradients", "evict-at"}) {
          details[key] = run.settings.at(key);
        }
        write_validation(options, folder, files, merged, details, outcome);
        checkpoint.remove();
      });
  return outcome;
}

}  // namespace evictlab::lab
