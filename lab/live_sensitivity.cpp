#include "lab/live_sensitivity.hpp"

#include <utility>

#include "core/error.hpp"
#include "lab/live_setup.hpp"
#include "lab/result_folder.hpp"
#include "lab/resumable.hpp"
#include "lab/validation_rows.hpp"
#include "results/schema.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

fs::path table_path(const fs::path& folder, const std::string& name) { return folder / (name + ".csv"); }

/// Measures these prompts and adds them to the checkpoint.
void measure_share(const SensitivityPlan& sensitivity, const ValidationPlan& plan,
                   const std::vector<runtime::TokenizedPrompt>& prompts, const std::vector<std::size_t>& share,
                   PromptCheckpoint& checkpoint, Observer& observer) {
  const auto runs = static_cast<double>(plan.policies.size() * plan.budgets.size());
  const Stage stage{"evicting in one place", "runs"};
  for (std::size_t i = 0; i < share.size(); ++i) {
    const runtime::TokenizedPrompt& prompt = prompts[share[i]];
    const runtime::Reference reference = read_prompt(plan, prompt);
    const ValidatedPrompt validated = validate_prompt(plan, prompt, reference, [&](double done) {
      observer.progress(stage, runs * static_cast<double>(i) + done, runs * static_cast<double>(share.size()));
    });
    const trace::MemoryTrace trace = recorded_trace(plan, reference);
    const ProfileTables profile = profile_tables(trace);
    const RuleShares shares = rule_shares(sensitivity, trace);
    results::Table rows = results::new_table("sensitivity");
    add_sensitivity_rows(sensitivity, plan.info, trace.prompts().front(),
                         {validated.replay.replay, &validated.validate, profile, shares}, rows);
    checkpoint.write(prompt.id, {{{"sensitivity", &rows}}, {}});
  }
}

}  // namespace

LiveSensitivityOutcome live_sensitivity(const LiveSensitivityOptions& options, Observer& observer) {
  const ValidateOptions& run = options.run;
  Ranks alone = Ranks::alone();
  Ranks& ranks = run.ranks != nullptr ? *run.ranks : alone;
  ResultFolder folder(run.force, run.command, prompt_inputs(run.prompts).add_model(run.model));
  const fs::path first = table_path(run.out, SensitivityTables::names().front());
  folder.plan_manifest(first);
  for (const std::string& name : SensitivityTables::names()) folder.plan(table_path(run.out, name));
  runtime::RecordOptions record = live_record(run);
  const runtime::Transformer model = open_model(run.model, observer);
  const ModelTokenizer tokenizer(run.model);
  const std::vector<runtime::Prompt> read = gather_prompts(run.prompts, tokenizer);
  SensitivityRequest request{live_policies(run.policies, observer), sim::parse_budgets(run.budgets)};
  record.repeat_chunk = repeat_chunk_for(request.policies);

  const trace::ModelInfo info = runtime::model_info(model);
  const std::vector<runtime::TokenizedPrompt> prompts =
      tokenize_all(read, tokenizer, model.config(), record, run.tokenization);
  const trace::MemoryTrace described = described_prompts(info, prompts, model, record);
  request.policies = usable_policies(std::move(request.policies), described, observer);
  const SensitivityPlan sensitivity(std::move(request), described, options.heads);
  ValidationPlan plan{.model = model,
                      .info = info,
                      .policies = with_full(sensitivity.site_policies()),
                      .budgets = sensitivity.request.budgets,
                      .record = record,
                      .text = {},
                      .teacher_forced = true};
  for (trace::Index layer = 0; layer < info.layers; ++layer) plan.output_weights.push_back(model.output_weight(layer));
  ResumableRun resumable{.settings = validation_settings(plan, prompts, run), .restart = run.force};
  for (const runtime::TokenizedPrompt& prompt : prompts) resumable.prompts.push_back(prompt.id);
  report_conversions(described, plan.budgets, observer);

  PromptCheckpoint checkpoint(run.out, "sensitivity");
  LiveSensitivityOutcome outcome;
  run_resumable(
      resumable, checkpoint, ranks, observer,
      [&](const std::vector<std::size_t>& share) {
        measure_share(sensitivity, plan, prompts, share, checkpoint, observer);
      },
      [&] {
        const std::string csv = checkpoint.merge(resumable.prompts).tables["sensitivity"];
        try {
          outcome.tables = sensitivity_tables(results::Table::from_csv(csv, first.string()));
        } catch (const core::InputError&) {
          checkpoint.remove();  // no other count can resume it
          throw;
        }
        outcome.tables.each([&](const char* name, const results::Table& table) {
          folder.write_table(table_path(run.out, name), table);
          outcome.files.push_back(table_path(run.out, name));
        });
        nlohmann::ordered_json details = {
            {"model", info.name}, {"model_fingerprint", info.fingerprint}, {"prompts", resumable.prompts.size()}};
        for (const sim::Policy& policy : sensitivity.request.policies) details["policies"].push_back(policy.text());
        for (const char* key : {"budgets", "window", "dtype", "gradients", "evict-at"})
          details[key] = resumable.settings.at(key);
        details["sites"] = options.heads ? "layers and kv heads" : "layers";
        folder.write_manifest(first, details);
        folder.commit();
        checkpoint.remove();
      });
  return outcome;
}

}  // namespace evictlab::lab
