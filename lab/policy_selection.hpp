#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lab/observer.hpp"
#include "results/run_table.hpp"
#include "sim/policy/budget.hpp"
#include "sim/policy/policy.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "trace/model.hpp"

// From the policies that a user names to those that a trace can be replayed with.

namespace evictlab::lab {

/// The policies that a user names.
struct PolicyRequest {
  std::string list = {};     // "snapkv(window=16),h2o"
  std::string protect = {};  // "sinks=4,window=32": for all of the list and a matrix, instead of their own
  std::string variant = {};  // for those of the list that have it
  std::vector<sim::Policy> policies = {};  // further ones, which are objects already

  bool empty() const { return list.empty() && policies.empty(); }
};

/// What `protect` and `variant` set for every policy of a list; reports those that are left out. Throws
/// core::InputError for a variant that no policy has. The observer must outlive it.
sim::MakeOptions make_options(const PolicyRequest& request, Observer& observer);

/// Makes the policies; reports those of a list that are impossible, and why.
std::vector<sim::Policy> make_policies(const PolicyRequest& request, Observer& observer);

/// The policies for which `why_not` has no reason; reports the others of several, and why. Throws sim::PolicyError when
/// none is left.
std::vector<sim::Policy> selected_policies(std::vector<sim::Policy> policies,
                                           const std::function<std::optional<std::string>(const sim::Policy&)>& why_not,
                                           Observer& observer);

/// Why some prompt of the trace cannot serve the policy's scorer, whichever layers it was recorded in; none: all can.
std::optional<std::string> why_no_scores(const trace::Source& trace, const sim::Policy& policy);

/// Whether every prompt of the trace was recorded with the fields and in the layers that the policy reads.
bool can_serve(const trace::Source& trace, const sim::Policy& policy);

/// The policies that every prompt of the trace can serve, selected_policies() of them.
std::vector<sim::Policy> usable_policies(std::vector<sim::Policy> policies, const trace::Source& trace,
                                         Observer& observer);

/// Reports how many prompts are too short for which policies, whose rows of them have no measures.
void report_too_short(const std::vector<results::Run>& runs, Observer& observer);

/// Why no policy could run on any prompt.
std::string why_nothing_ran(const std::vector<results::Run>& runs);

/// Reports how many slots budgets in other units are, at most eight of them.
void report_conversions(const trace::Source& trace, std::span<const sim::Budget> budgets, Observer& observer);

/// Reports, where some prompt was recorded in some layers only, what that means for headroom.
void report_partial_headroom(const trace::Source& trace, Observer& observer);

/// The most notes of a sweep or a validation that are reported: hundreds of policies have hundreds.
inline constexpr std::size_t kMostNotes = 12;

/// Reports what policies noted about their runs, at most `most` of them.
void report_notes(const std::map<std::string, sim::ReplayResult::NoteTotal>& notes, std::size_t most,
                  Observer& observer);

}  // namespace evictlab::lab
