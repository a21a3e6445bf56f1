#include "lab/fit.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>

#include "cli/common_options.hpp"
#include "cli/console.hpp"
#include "cli/prompt_options.hpp"
#include "cli/validate_summary.hpp"
#include "core/error.hpp"
#include "lab/fit_live.hpp"

namespace evictlab::cli {
namespace {

void declare_fit(Options& options) {
  const lab::FitOptions defaults;
  options.positional("trace", "the recordings of one model: files or directories of parts", Options::Count::kMany);
  options.value("model", "MODEL", "",
                "instead of a trace: record one half of the documents of --prompts, fit to it, and run the other half "
                "live under the fitted policy and the published ones that replay finds best");
  options.values("prompts", "FILE.jsonl", "with --model: prompts, as record takes them");
  options.value(
      "out", "DIR", "",
      "where to write policy.json, fit.csv and fit_budgets.csv; with --model also recording.h5 and the folder "
      "validate");
  options.value("only", "ID,ID", "", "fit to the prompts of these ids alone");
  options.value("policy", "LIST", defaults.policies.list, "policies whose scorers may rank a head's positions");
  options.value("budget", "LIST", defaults.budgets, "slots at which scorers and protection are chosen");
  options.value("unit", "UNIT", "output",
                "what a loss is measured in: output or stream (squared error of a layer's output, relative to the "
                "output or to the residual stream), squared (as it is), fisher (KL divergence to second order; needs "
                "record --gradients), mass (attention; the only one of a summary recording)");
  options.value("scores-from", "WHAT", "all",
                "the most an engine would compute for a scorer: keys, window (attention of the last queries), all");
  options.value("bytes-as", "HOW", "exact",
                "what a budget pays for: exact (every head its own count), padded (all heads of a layer alike), paged "
                "(blocks of 16 positions)");
  options.value("tasks", "RULE", "worst", "what several tasks make of a choice: worst or mean of its relative losses");
  declare_threads(options);
  options.flag("force", "replace existing results");
}

lab::FitOptions fit_options(const Options& options) {
  lab::FitOptions fit;
  if (options.has("model")) {
    if (options.given("trace")) throw core::InputError("fit: give a trace, or --model and --prompts, not both");
    options.refuse("only", "does not apply to --model");
  } else {
    options.refuse("prompts", "needs --model");
    fit.traces = options.paths("trace");
  }
  fit.only = only_ids(options);
  fit.policies.list = options.text("policy");
  fit.budgets = options.text("budget");
  fit.unit = lab::loss_unit(options.choice("unit", {"output", "stream", "squared", "fisher", "mass"}));
  const std::string from = options.choice("scores-from", {"keys", "window", "all"});
  for (const sim::ScoresFrom known : {sim::ScoresFrom::kKeys, sim::ScoresFrom::kWindow, sim::ScoresFrom::kAll}) {
    if (from == sim::scores_from_name(known)) fit.from = known;
  }
  const std::string bytes = options.choice("bytes-as", {"exact", "padded", "paged"});
  if (bytes == "padded") fit.per = sim::FittedUnit::kLayer;
  if (bytes == "paged") fit.block = sim::kPageSlots;
  fit.tasks = options.choice("tasks", {"worst", "mean"}) == "mean" ? sim::TaskRule::kMean : sim::TaskRule::kWorst;
  fit.out = options.path("out");
  fit.force = options.has("force");
  fit.command = command_line();
  return fit;
}

std::string counted(std::size_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string fit_summary(const lab::FitOutcome& outcome) {
  const sim::Fit& fit = outcome.fit;
  const sim::FitProvenance& from = fit.fitted.provenance;
  std::string text =
      fmt::format("fitted to {} and {}, {} to {} positions\n", counted(from.documents.size(), "document"),
                  counted(from.tasks.size(), "task"), from.shortest, from.longest);
  if (fit.choice.level == sim::ScorerLevel::kModel) {
    text += fmt::format("scorer of all heads: {}\n", outcome.scorers[fit.choice.scorer]);
  } else {
    text += fmt::format("every {} has its own scorer of {}\n", sim::scorer_level_name(fit.choice.level),
                        fmt::join(outcome.scorers, ", "));
  }
  if (!fit.cross_validated) {
    text += "one document: nothing was held out, and what was chosen fits it more closely than any other\n";
    return text;
  }
  text += fmt::format("weight of equal budgets: {}{}\n", fit.fitted.uniform_weight,
                      fit.fitted.uniform_weight == 1.0 ? ": not enough prompts to know better" : "");
  text += "held-out loss of single heads, summed   (equal budgets)\n";
  for (std::size_t i = 0; i < from.slots.size(); ++i) {
    text += fmt::format("{:>8} slots  {:.4g}  ({:.4g})\n", from.slots[i], from.held_out_loss[i], from.uniform_loss[i]);
  }
  return text;
}

}  // namespace

int run_fit(const Arguments& arguments) {
  Options options(
      "fit", "TRACE [TRACE ...] | --model MODEL --prompts FILE.jsonl  --out DIR [OPTION ...]",
      "Compiles a policy from recordings of one model: measures what the layer's output loses when one kv head alone\n"
      "holds only so many positions, by every scorer and protection, and divides budgets by these curves. What cannot\n"
      "be read off them is chosen by cross-validation over tasks or documents. The policy is "
      "fitted(file=DIR/policy.json)\n"
      "wherever a policy is asked for; its file serves every budget.");
  declare_fit(options);
  if (!options.parse(arguments)) return 0;
  use_threads(options);
  Console console;
  if (options.has("model")) {
    const lab::LiveFitOutcome outcome = lab::fit_live(
        {.fit = fit_options(options), .model = options.path("model"), .prompts = {.files = options.paths("prompts")}},
        console);
    std::cout << fit_summary(outcome.fit)
              << fmt::format(
                     "\n{} prompts recorded and fitted to, {} others run live; best published by replay: {}\n\n",
                     outcome.recorded, outcome.judged, fmt::join(outcome.published, ", "))
              << validate_summary(outcome.validation.outcomes);
    report_written(outcome.fit.files);
    report_written(outcome.validation.files);
    return 0;
  }
  const lab::FitOutcome outcome = lab::fit(fit_options(options), console);
  std::cout << fit_summary(outcome);
  report_written(outcome.files);
  return 0;
}

}  // namespace evictlab::cli
