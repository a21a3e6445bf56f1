#pragma once

#include <set>
#include <string>

#include "results/table.hpp"

// What a sweep shows, for a terminal.

namespace evictlab::cli {

/// The rows of all policies but these (by their texts).
results::Table without_policies(const results::Table& table, const std::set<std::string>& policies);

/// Of results::summarize: at up to eight of the budgets, the best policies.
std::string sweep_summary(const results::Table& summary);
/// Of a headroom table: per policy, mean over budgets and prompts.
std::string headroom_summary(const results::Table& headroom);
/// Of sim::tuning.
std::string tuning_summary(const results::Table& tuning);

}  // namespace evictlab::cli
