#include "cli/policy_options.hpp"

namespace evictlab::cli {

void declare_policies(Options& options) {
  options.value("policy", "LIST", "", "policies: snapkv,streaming-llm(sinks=8),... or all; see evictlab policies");
  options.value("budget", "LIST", "",
                "stored slots per layer divided by the kv heads, protection included: 128, 0.05 or 5% (of the "
                "prompt), 64MiB or 64MB, 16:4096:log32");
  declare_policy_defaults(options);
}

void declare_calibration(Options& options) {
  options.value(
      "calibration", "FILE.json", "",
      "foretell the KL divergence of each run, with an interval: calibration.json of evictlab validate on this "
      "model");
}

void declare_measures(Options& options) {
  options.value(
      "measures", "all|summary", "all",
      "summary: leave out what only the full tier gives (exact losses, squared errors, ...), which takes nearly "
      "all of the time where there are many policies and budgets; their cells are empty");
}

bool wants_full_measures(const Options& options) { return options.choice("measures", {"all", "summary"}) == "all"; }

void declare_policy_defaults(Options& options) {
  options.value("protect", "sinks=S,window=W", "",
                "protect these positions under every policy, instead of its own; what is left out is 0");
  options.value("variant", "NAME", "", "follow this source where a policy has it: kvpress, paper, ...");
}

lab::PolicyRequest policy_request(const Options& options, bool required) {
  return {.list = required ? options.text("policy") : options.text_or_empty("policy"),
          .protect = options.text_or_empty("protect"),
          .variant = options.text_or_empty("variant")};
}

}  // namespace evictlab::cli
