#pragma once

#include "cli/options.hpp"
#include "lab/policy_selection.hpp"

// --policy, --budget and what sets defaults for all policies: declared and read alike by every command that replays.

namespace evictlab::cli {

/// --policy, --budget, --protect, --variant
void declare_policies(Options& options);

/// --calibration, of commands that replay.
void declare_calibration(Options& options);
/// --measures all|summary
void declare_measures(Options& options);
/// Whether measures of the full tier are wanted.
bool wants_full_measures(const Options& options);
/// --protect and --variant alone
void declare_policy_defaults(Options& options);

/// The values of --policy, --protect and --variant; --policy must be there where `required`.
lab::PolicyRequest policy_request(const Options& options, bool required);

}  // namespace evictlab::cli
