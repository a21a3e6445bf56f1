#include "lab/validate.hpp"

#include <iostream>
#include <optional>

#include "cli/common_options.hpp"
#include "cli/on_ranks.hpp"
#include "cli/policy_options.hpp"
#include "cli/prompt_options.hpp"
#include "cli/race_summary.hpp"
#include "cli/sensitivity_summary.hpp"
#include "cli/validate_summary.hpp"
#include "lab/live_sensitivity.hpp"
#include "lab/race.hpp"

namespace evictlab::cli {
namespace {

void declare_validate(Options& options) {
  declare_prompts(options);
  declare_policies(options);
  options.value("out", "DIR", "", "where to leave the tables: validate.csv, outcomes.csv, calibration.csv, ...");
  options.value("window", "N", "64", "observation window: how many of the last prompt queries policies and replay see");
  options.value("dtype", "TYPE", "float32", "of the queries, keys and values that replay reads: float16 or float32");
  declare_gradients(options,
                    "R draws of the gradients of next-token probabilities by attention outputs for replay, whose "
                    "fisher_loss and fisher_kl then enter the calibration; 8 where no R is given");
  declare_tokenizing(options);
  options.value("max-tokens", "N", "0",
                "write at most N tokens; 0: as many as the answer has, and 16 more where a stop must follow");
  options.flag("teacher-forced",
               "only read the answers, which gives kl, nll and top1_agreement; the model writes none of its own");
  options.value("sensitivity", "SITES", "",
                "instead: evict in one place at a time, everything else full, and report what each costs: layers, or "
                "heads (kv heads and layers); writes sensitivity.csv, sensitivity_summary.csv, "
                "sensitivity_agreement.csv");
  options.flag("undecided",
               "instead: replay all policies and run live only the methods that their foretold KL does not separate, "
               "document by document until one is found to be best; takes --calibration; writes race.csv");
  declare_calibration(options);
  options.value("replay", "FILE", "", "a replay.csv of the same prompts to compare with, instead of replaying here");
  declare_threads(options);
  options.flag("force", "replace existing results, and start over");
}

lab::ValidateOptions validate_options(const Options& options, lab::Ranks& ranks) {
  lab::ValidateOptions validate{.out = options.path("out"), .ranks = &ranks};
  validate.window = options.integer("window", 1, 65536);
  validate.dtype = dtype_of(options);
  validate.gradients = gradients_of(options);
  validate.tokenization = tokenize_options(options);
  validate.model = options.path("model");
  validate.prompts = prompt_request(options);
  validate.policies = policy_request(options, true);
  validate.budgets = options.text("budget");
  validate.teacher_forced = options.has("teacher-forced");
  if (validate.teacher_forced && options.given("max-tokens")) {
    options.refuse("max-tokens", "is of answers that the model writes, but --teacher-forced has none");
  }
  validate.most_tokens = static_cast<std::size_t>(options.integer("max-tokens", 0, 1'000'000));
  validate.replay = options.optional_path("replay");
  validate.force = options.has("force");
  validate.command = command_line();
  return validate;
}

/// What --sensitivity asks for; the answers are only read.
lab::LiveSensitivityOptions sensitivity_options(const Options& options, lab::Ranks& ranks) {
  for (const char* name : {"replay", "max-tokens"}) options.refuse(name, "does not apply to --sensitivity");
  lab::LiveSensitivityOptions sensitivity{.run = validate_options(options, ranks)};
  sensitivity.run.teacher_forced = true;
  sensitivity.heads = options.choice("sensitivity", {"layers", "heads"}) == "heads";
  return sensitivity;
}

lab::RaceOptions race_options(const Options& options, lab::Ranks& ranks) {
  for (const char* name : {"replay", "sensitivity"}) options.refuse(name, "does not apply to --undecided");
  const auto calibration = options.optional_path("calibration");
  if (!calibration)
    throw core::InputError("validate: --undecided needs --calibration, by which replay separates policies");
  return {.run = validate_options(options, ranks), .calibration = *calibration};
}

/// One of the three.
struct Validated {
  std::optional<lab::ValidateOutcome> policies = {};
  std::optional<lab::LiveSensitivityOutcome> sites = {};
  std::optional<lab::RaceOutcome> race = {};
};

}  // namespace

int run_validate(const Arguments& arguments) {
  Options options(
      "validate", "--model MODEL --prompts FILE.jsonl --policy LIST --budget LIST --out DIR [OPTION ...]",
      "Runs the model with its KV cache really compacted by every policy at every budget: what becomes of its\n"
      "next-token distributions and its answers, and how well the replay of the same prompts predicts it.\n"
      "One that was stopped goes on with the same command. Under mpirun, prompts are spread over ranks.");
  declare_validate(options);
  return run_on_ranks(
      options, arguments,
      [&](lab::Ranks& ranks, lab::Observer& observer) -> Validated {
        if (options.has("undecided")) return {.race = lab::race(race_options(options, ranks), observer)};
        options.refuse("calibration", "applies to --undecided, which foretells by it");
        if (options.has("sensitivity"))
          return {.sites = lab::live_sensitivity(sensitivity_options(options, ranks), observer)};
        return {.policies = lab::validate(validate_options(options, ranks), observer)};
      },
      [](const Validated& outcome) {
        if (outcome.sites) {
          std::cout << sensitivity_summary(outcome.sites->tables);
          report_written(outcome.sites->files);
          return;
        }
        if (outcome.race) {
          std::cout << race_summary(*outcome.race);
          report_written(outcome.race->files);
          return;
        }
        std::cout << validate_summary(outcome.policies->outcomes) << calibration_summary(outcome.policies->calibration);
        report_written(outcome.policies->files);
      });
}

}  // namespace evictlab::cli
