#pragma once

#include <string>

#include "results/table.hpp"

namespace evictlab::cli {

/// The table of results::summarize() for people: one block a budget, policies by rank, with intervals.
std::string replay_summary(const results::Table& summary);
/// The table of results::constraint_costs() for people; empty when it has no rows.
std::string constraints_summary(const results::Table& costs);

}  // namespace evictlab::cli
