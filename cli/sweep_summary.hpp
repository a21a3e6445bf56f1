#pragma once

#include <string>

#include "results/table.hpp"

// What a sweep shows, for a terminal.

namespace evictlab::cli {

/// Of results::summarize: at up to eight of the budgets, the best policies.
std::string sweep_summary(const results::Table& summary);
/// Of a headroom table: per policy, mean over budgets and prompts.
std::string headroom_summary(const results::Table& headroom);
/// Of sim::tuning.
std::string tuning_summary(const results::Table& tuning);

}  // namespace evictlab::cli
