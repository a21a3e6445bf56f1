#pragma once

#include <set>
#include <string>

#include "analysis/table.hpp"

// What a sweep shows, for a terminal.

namespace evictlab::cli {

/// The rows of all policies but these (by their texts).
analysis::Table without_policies(const analysis::Table& table, const std::set<std::string>& policies);

/// Of sim::summarize: at up to eight of the budgets, the best policies.
std::string sweep_summary(const analysis::Table& summary);
/// Of a headroom table: per policy, mean over budgets and prompts.
std::string headroom_summary(const analysis::Table& headroom);
/// Of sim::tuning.
std::string tuning_summary(const analysis::Table& tuning);

}  // namespace evictlab::cli
