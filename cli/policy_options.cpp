#include "cli/policy_options.hpp"

#include <fmt/format.h>

#include <iostream>
#include <memory>
#include <set>

#include "core/error.hpp"
#include "core/progress.hpp"
#include "sim/policy/constraints.hpp"

namespace evictlab::cli {

void declare_policies(Options& options) {
  options.value("policy", "LIST", "", "policies: snapkv,streaming-llm(sinks=8),...; see evictlab policies");
  options.value("budget", "LIST", "",
                "stored slots per layer divided by the kv heads, protection included: 128, 0.05 (ratio of the prompt), "
                "64MiB, 16:4096:log32");
  declare_policy_defaults(options);
}

void declare_policy_defaults(Options& options) {
  options.value("protect", "sinks=S,window=W", "", "protect these positions under every policy, instead of its own");
  options.value("variant", "NAME", "", "follow this source where a policy has it: kvpress, paper, ...");
}

sim::MakeOptions make_options(const Options& options) {
  sim::MakeOptions make;
  make.left_out = [](const std::string& reason) { std::cerr << fmt::format("left out: {}\n", reason); };
  if (const auto protect = options.optional_text("protect")) {
    make.constraints.emplace_back("protect", sim::protect_value(*protect));
  }
  if (const auto variant = options.optional_text("variant")) {
    make.variant = *variant;
    if (!sim::is_variant(*variant)) throw core::InputError("--variant: no policy has the variant '{}'", *variant);
  }
  return make;
}

bool can_serve(const trace::Source& trace, const sim::Policy& policy) {
  return std::ranges::none_of(trace.prompts(), [&policy](const trace::PromptInfo& prompt) {
    return prompt.window < policy.needs().window_rows || !prompt.recorded().contains(policy.needs().fields);
  });
}

std::vector<sim::Policy> usable_policies(const std::vector<sim::Policy>& policies, const trace::Source& trace,
                                         bool aloud) {
  std::vector<sim::Policy> usable;
  std::string reason;
  for (const sim::Policy& policy : policies) {
    try {
      for (const trace::PromptInfo& prompt : trace.prompts()) sim::check_needs(policy, prompt);
      usable.push_back(policy);
    } catch (const sim::PolicyError& error) {
      reason = error.what();
      if (aloud && policies.size() > 1) std::cerr << fmt::format("left out: {}\n", reason);
    }
  }
  if (usable.empty()) throw sim::PolicyError("{}", reason);
  return usable;
}

void report_conversions(const trace::Source& trace, const std::vector<sim::Budget>& budgets) {
  std::set<std::string> said;
  for (const sim::Budget& budget : budgets) {
    for (const trace::PromptInfo& prompt : trace.prompts()) {
      const std::string text = budget.conversion(trace.model(), prompt.prompt_length);
      if (!text.empty() && said.insert(text).second && said.size() <= 8) std::cerr << fmt::format("budget: {}\n", text);
    }
  }
}

std::function<void(double done, double total)> layer_progress(const std::string& label) {
  return [label, progress = std::shared_ptr<core::Progress>()](double done, double total) mutable {
    if (!progress) progress = std::make_shared<core::Progress>(label, total, "layers");
    progress->advance_to(done);
  };
}

void report_notes(const std::map<std::string, sim::ReplayResult::NoteTotal>& notes, std::size_t most) {
  std::size_t said = 0;
  for (const auto& [note, total] : notes) {
    if (++said > most) continue;
    std::cerr << fmt::format("note: {} ({} runs{})\n", note, total.runs,
                             total.slots > 0.0 ? fmt::format(", {} slots", total.slots) : "");
  }
  if (said > most) std::cerr << fmt::format("note: and {} more of the kind\n", said - most);
}

}  // namespace evictlab::cli
