#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cli/options.hpp"
#include "sim/policy/budget.hpp"
#include "sim/policy/policy.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "trace/model.hpp"

// --policy, --budget and what sets defaults for all policies: declared and read alike by every command that replays.

namespace evictlab::cli {

/// --policy, --budget, --protect, --variant
void declare_policies(Options& options);

/// --protect and --variant alone
void declare_policy_defaults(Options& options);

/// What --protect and --variant set for all policies. Throws core::InputError for a variant that no policy has. Says on
/// stderr which policies of a list cannot be and why.
sim::MakeOptions make_options(const Options& options);

/// Whether every prompt of the trace was recorded with what the policy reads.
bool can_serve(const trace::Source& trace, const sim::Policy& policy);

/// The policies that every prompt of the trace can serve; says, if asked to, which cannot be and why. Throws when none
/// can.
std::vector<sim::Policy> usable_policies(const std::vector<sim::Policy>& policies, const trace::Source& trace,
                                         bool aloud = true);

/// Says what budgets in other units than slots come to.
void report_conversions(const trace::Source& trace, const std::vector<sim::Budget>& budgets);

/// Shows layers done on a terminal, as long as it lives: for sim::ReplayOptions::progress.
std::function<void(double done, double total)> layer_progress(const std::string& label);

/// Says what policies have to say about how they went, at most so many lines.
void report_notes(const std::map<std::string, sim::ReplayResult::NoteTotal>& notes, std::size_t most);

}  // namespace evictlab::cli
