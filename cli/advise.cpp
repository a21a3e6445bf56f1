#include "lab/advise.hpp"

#include <fmt/format.h>

#include <iostream>
#include <limits>

#include "cli/common_options.hpp"
#include "cli/console.hpp"
#include "cli/policy_options.hpp"
#include "core/error.hpp"

namespace evictlab::cli {
namespace {

void declare(Options& options) {
  options.positional("trace", "the traces, of one model: files or directories of parts", Options::Count::kMany);
  options.value("loss", "X", "", "the most that may be lost, for example 0.05");
  options.value("bytes", "SIZE", "", "the most bytes that one sequence may hold, for example 64MiB");
  options.value("kl", "X", "", "the most KL divergence, foretold by --calibration: 0.05 nats, say");
  options.value("measure", "attention|output|kl", "attention",
                "what is lost: attention of the future queries, the layers' outputs (full tier), or the KL divergence "
                "foretold (as --calibration is given, kl where --loss is not)");
  options.value("policy", "LIST", lab::kAdvisedPolicies, "policies to choose from");
  declare_policy_defaults(options);
  options.value("out", "FILE.json", "",
                "budgets per layer and head of the choice, for an engine and for replay --budgets");
  declare_calibration(options);
  declare_threads(options);
  options.flag("force", "replace an existing file");
}

lab::AdviseOptions advise_options(const Options& options) {
  lab::AdviseOptions advise{.bytes = options.text_or_empty("bytes")};
  if (options.has("loss") && options.has("kl")) throw core::InputError("advise: give --loss or --kl");
  if (options.has("loss")) advise.loss = options.number("loss", 0.0, 1.0);
  advise.traces = options.paths("trace");
  advise.measure = options.choice("measure", {"attention", "output", "kl"});
  if (options.has("kl") && options.given("measure") && advise.measure != "kl") {
    throw core::InputError("advise: --kl is of --measure kl, not of {}", advise.measure);
  }
  const bool foretold = options.has("calibration") && !options.has("loss") && !options.given("measure");
  if (options.has("kl") || foretold) advise.measure = "kl";
  if (options.has("kl")) advise.loss = options.number("kl", 0.0, std::numeric_limits<double>::max());
  advise.policies = policy_request(options, true);
  advise.out = options.optional_path("out");
  advise.calibration = options.optional_path("calibration");
  advise.force = options.has("force");
  advise.command = command_line();
  return advise;
}

}  // namespace

int run_advise(const Arguments& arguments) {
  Options options(
      "advise", "TRACE ... --loss X | --kl X | --bytes SIZE [OPTION ...]",
      "Tells the cheapest policy and budget that loses at most so much, or the policy that loses least for so\n"
      "many bytes, with its interval over the recorded prompts; and the budgets per layer and head that it\n"
      "comes to, for an engine to load. Open loop: see docs/architecture.md before trusting it.");
  declare(options);
  if (!options.parse(arguments)) return 0;
  use_threads(options);
  Console console;
  const lab::AdviseOptions advise = advise_options(options);
  std::cout << lab::advice_text(lab::advise(advise, console));
  if (advise.out) std::cerr << fmt::format("wrote {}\n", advise.out->string());
  return 0;
}

}  // namespace evictlab::cli
