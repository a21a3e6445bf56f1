#include "lab/report.hpp"

#include <fmt/format.h>

#include <iostream>

#include "cli/common_options.hpp"
#include "cli/console.hpp"
#include "cli/policy_options.hpp"
#include "core/text.hpp"

namespace evictlab::cli {

int run_report(const Arguments& arguments) {
  Options options(
      "report", "TRACE|RESULTS --out FILE.html [OPTION ...]",
      "Writes one HTML page, which loads nothing: which policy keeps most at each budget and how sure that is, what "
      "the\n"
      "layers do, where needles are lost, every figure, and a look at single prompts. Of a trace it makes the tables "
      "of\n"
      "analyze and replay itself; of a directory it takes those that are there. What is missing is left out, with the\n"
      "reason in its place.");
  options.positional("results", "a trace, or a directory with the tables of analyze, replay, sweep, validate",
                     Options::Count::kOne);
  options.value("out", "FILE.html", "", "the page to write");
  options.value("model", "MODEL", "", "the model, whose tokenizer turns tokens into text: a directory or a .gguf file");
  options.value("policy", "LIST", lab::kReportPolicies, "of a trace: the policies to replay");
  options.value("budget", "LIST", lab::kReportBudgets, "of a trace: the budgets to replay them at");
  declare_policy_defaults(options);
  declare_calibration(options);
  declare_threads(options);
  options.flag("force", "replace an existing page");
  if (!options.parse(arguments)) return 0;

  use_threads(options);
  Console console;
  const lab::ReportOutcome outcome = lab::report({.results = options.path("results"),
                                                  .model = options.optional_path("model"),
                                                  .policies = policy_request(options, true),
                                                  .budgets = options.text("budget"),
                                                  .calibration = options.optional_path("calibration"),
                                                  .page = options.path("out"),
                                                  .force = options.has("force"),
                                                  .command = command_line()},
                                                 console);
  std::cerr << fmt::format("wrote {} ({})\n", outcome.page.string(),
                           core::format_bytes(static_cast<double>(outcome.bytes)));
  return 0;
}

}  // namespace evictlab::cli
