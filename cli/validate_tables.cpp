#include "cli/validate_tables.hpp"

#include <fmt/format.h>

#include <iostream>
#include <set>

#include "cli/policy_options.hpp"
#include "cli/validate_summary.hpp"
#include "core/error.hpp"
#include "core/file.hpp"
#include "results/calibration.hpp"
#include "results/needle_grid.hpp"
#include "results/outcomes.hpp"

namespace evictlab::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNotes = 12;

void report_status(const results::Table& validate, const PromptParts& parts) {
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

}  // namespace

ValidateFiles::ValidateFiles(const Outputs& outputs, const fs::path& directory, bool replay_is_given) {
  if (fs::exists(directory) && !fs::is_directory(directory)) {
    throw core::InputError("{}: is not a directory", directory.string());
  }
  validate = outputs.plan(directory / "validate.csv");
  outcomes = outputs.plan(directory / "outcomes.csv");
  calibration = outputs.plan(directory / "calibration.csv");
  predictions = outputs.plan(directory / "predictions.csv");
  disagreements = outputs.plan(directory / "disagreements.csv");
  if (!replay_is_given) {
    replay = outputs.plan(directory / "replay.csv");
    spans = outputs.plan(directory / "spans.csv");
    needles = outputs.plan(directory / "needles.csv");
  }
  outputs.plan(Outputs::manifest_path(validate));
}

void finish_validation(const ValidationPlan& plan, const std::vector<runtime::TokenizedPrompt>& prompts,
                       const PromptParts& parts, const ValidateFiles& files, const Outputs& outputs,
                       const std::optional<results::Table>& given, const nlohmann::ordered_json& settings) {
  std::vector<std::string> ids;
  for (const runtime::TokenizedPrompt& prompt : prompts) ids.push_back(prompt.id);
  PromptParts::Merged merged = parts.merge(ids);
  report_notes(merged.notes, kMostNotes);
  const results::Table validate = results::Table::from_csv(merged.tables["validate"], files.validate.string());
  report_status(validate, parts);
  const results::Table replay =
      given ? *given : results::Table::from_csv(merged.tables["replay"], files.replay->string());

  const results::Table outcomes = results::outcomes(validate);
  const results::Calibration calibration = results::calibrate(validate, replay);
  Outputs::make_parent(files.validate);
  if (files.replay) core::write_text(*files.replay, merged.tables["replay"]);
  if (files.spans && !merged.tables["spans"].empty()) {
    core::write_text(*files.spans, merged.tables["spans"]);
    const results::Table spans = results::Table::from_csv(merged.tables["spans"], files.spans->string());
    outputs.write_table(*files.needles, results::needle_grid(validate, spans));
  }
  outputs.write_table(files.outcomes, outcomes);
  outputs.write_table(files.calibration, calibration.measures);
  outputs.write_table(files.predictions, calibration.predictions);
  outputs.write_table(files.disagreements, calibration.disagreements);
  std::cout << validate_summary(outcomes) << calibration_summary(calibration);
  nlohmann::ordered_json details = {{"model", plan.info.name},
                                    {"model_fingerprint", plan.info.fingerprint},
                                    {"prompts", ids.size()},
                                    {"bootstrap_seed", results::BootstrapOptions{}.seed}};
  for (const char* key : {"policies", "budgets", "window", "dtype", "evict-at"}) details[key] = settings.at(key);
  outputs.write_manifest(files.validate, details);
  core::write_text(files.validate, merged.tables["validate"]);  // last: with it the validation is done
  parts.remove();
  std::cerr << fmt::format("wrote {}, outcomes.csv, calibration.csv, predictions.csv, disagreements.csv{}\n",
                           files.validate.string(), files.replay ? ", replay.csv, spans.csv, needles.csv" : "");
}

}  // namespace evictlab::cli
