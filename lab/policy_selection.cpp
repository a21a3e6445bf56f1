#include "lab/policy_selection.hpp"

#include <fmt/format.h>

#include <optional>
#include <set>
#include <utility>

#include "core/error.hpp"
#include "results/labels.hpp"
#include "sim/policy/constraints.hpp"

namespace evictlab::lab {
namespace {

/// Why some prompt of the trace cannot serve the policy.
std::optional<std::string> lacking(const trace::Source& trace, const sim::Policy& policy) {
  try {
    for (const trace::PromptInfo& prompt : trace.prompts()) {
      sim::check_needs(policy, prompt);
      sim::check_layers(policy, trace.model(), prompt);
    }
  } catch (const sim::PolicyError& error) {
    return error.what();
  }
  return std::nullopt;
}

}  // namespace

sim::MakeOptions make_options(const PolicyRequest& request, Observer& observer) {
  sim::MakeOptions make;
  make.left_out = [&observer](const std::string& reason) { observer.message(Topic::kLeftOut, reason); };
  if (!request.protect.empty()) make.constraints.emplace_back("protect", sim::protect_value(request.protect));
  if (!request.variant.empty()) sim::check_variant(request.variant);
  make.variant = request.variant;
  return make;
}

std::vector<sim::Policy> make_policies(const PolicyRequest& request, Observer& observer) {
  std::vector<sim::Policy> policies;
  const sim::MakeOptions make = make_options(request, observer);
  if (!request.list.empty()) policies = sim::make_policies(request.list, make);
  policies.insert(policies.end(), request.policies.begin(), request.policies.end());
  return policies;
}

std::optional<std::string> why_no_scores(const trace::Source& trace, const sim::Policy& policy) {
  try {
    for (const trace::PromptInfo& prompt : trace.prompts()) sim::check_needs(policy, prompt);
  } catch (const sim::PolicyError& error) {
    return error.what();
  }
  return std::nullopt;
}

std::vector<sim::Policy> selected_policies(std::vector<sim::Policy> policies,
                                           const std::function<std::optional<std::string>(const sim::Policy&)>& why_not,
                                           Observer& observer) {
  const bool several = policies.size() > 1;
  std::string reason = "there is no policy to run";
  std::erase_if(policies, [&](const sim::Policy& policy) {
    const std::optional<std::string> own = why_not(policy);
    if (!own) return false;
    reason = *own;
    if (several) observer.message(Topic::kLeftOut, reason);
    return true;
  });
  if (policies.empty()) throw sim::PolicyError("{}", reason);
  return policies;
}

bool can_serve(const trace::Source& trace, const sim::Policy& policy) { return !lacking(trace, policy); }

std::vector<sim::Policy> usable_policies(std::vector<sim::Policy> policies, const trace::Source& trace,
                                         Observer& observer) {
  return selected_policies(
      std::move(policies), [&](const sim::Policy& policy) { return lacking(trace, policy); }, observer);
}

void report_too_short(const std::vector<results::Run>& runs, Observer& observer) {
  std::map<results::PolicyKey, std::set<std::string>> too_short;
  std::set<std::string> all;
  for (const results::Run& run : runs) {
    all.insert(run.prompt);
    if (run.status == results::RunStatus::kTooShort) too_short[run.key].insert(run.prompt);
  }
  std::size_t reported = 0;
  for (const auto& [key, prompts] : too_short) {
    if (++reported > kMostNotes) continue;
    observer.message(Topic::kNote,
                     fmt::format("{} is not run on {} of {} prompts: they have fewer queries than it reads",
                                 results::full_label(key), prompts.size(), all.size()));
  }
  if (reported > kMostNotes) {
    observer.message(Topic::kNote, fmt::format("and {} more policies likewise", reported - kMostNotes));
  }
}

std::string why_nothing_ran(const std::vector<results::Run>& runs) {
  const auto too_short = std::ranges::find(runs, results::RunStatus::kTooShort, &results::Run::status);
  if (too_short == runs.end()) return "every policy protects more than every budget holds; raise --budget";
  return fmt::format(
      "{} reads more queries than prompt '{}' has, and no other policy can run on any prompt; give it a "
      "smaller window",
      results::full_label(too_short->key), too_short->prompt);
}

void report_conversions(const trace::Source& trace, std::span<const sim::Budget> budgets, Observer& observer) {
  std::set<std::string> reported;
  for (const sim::Budget& budget : budgets) {
    for (const trace::PromptInfo& prompt : trace.prompts()) {
      const std::string text = budget.conversion(trace.model(), prompt.prompt_length);
      if (text.empty() || !reported.insert(text).second || reported.size() > 8) continue;
      observer.message(Topic::kBudget, text);
    }
  }
}

void report_partial_headroom(const trace::Source& trace, Observer& observer) {
  for (const trace::PromptInfo& prompt : trace.prompts()) {
    const auto recorded = static_cast<trace::Index>(prompt.layers.size());
    if (recorded == trace.model().layers) continue;
    observer.message(Topic::kNote,
                     fmt::format("prompt '{}' recorded {} of {} layers: headroom divides slots over these alone",
                                 prompt.id, recorded, trace.model().layers));
    return;
  }
}

void report_notes(const std::map<std::string, sim::ReplayResult::NoteTotal>& notes, std::size_t most,
                  Observer& observer) {
  std::size_t reported = 0;
  for (const auto& [note, total] : notes) {
    if (++reported > most) continue;
    const std::string slots = total.slots > 0.0 ? fmt::format(", {:.6g} slots in all layers", total.slots) : "";
    observer.message(Topic::kNote, fmt::format("{} ({} run{}{})", note, total.runs, total.runs == 1 ? "" : "s", slots));
  }
  if (reported > most) observer.message(Topic::kNote, fmt::format("and {} more of the kind", reported - most));
}

}  // namespace evictlab::lab
