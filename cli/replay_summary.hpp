#pragma once

#include <string>

#include "analysis/table.hpp"

namespace evictlab::cli {

/// The table of sim::summarize() for people: one block a budget, policies by rank, with intervals.
std::string replay_summary(const analysis::Table& summary);
/// The table of sim::constraint_costs() for people; empty when it has no rows.
std::string constraints_summary(const analysis::Table& costs);

}  // namespace evictlab::cli
