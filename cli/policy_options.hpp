#pragma once

#include "cli/options.hpp"
#include "lab/policy_selection.hpp"

// --policy, --budget and what sets defaults for all policies: declared and read alike by every command that replays.

namespace evictlab::cli {

/// --policy, --budget, --protect, --variant
void declare_policies(Options& options);

/// --protect and --variant alone
/// --calibration, of commands that replay.
void declare_calibration(Options& options);
void declare_policy_defaults(Options& options);

/// The values of --policy, --protect and --variant; --policy must be there where `required`.
lab::PolicyRequest policy_request(const Options& options, bool required);

}  // namespace evictlab::cli
