#pragma once

#include <string>

#include <optional>

#include "results/measures.hpp"
#include "results/table.hpp"

namespace evictlab::cli {

/// The measure that ranks the policies of summary.csv; none of a table without ranked ones.
std::optional<results::Measure> ranked_by(const results::Table& summary);

/// The table of results::summarize() for people: one block a budget, policies by rank, with intervals.
std::string replay_summary(const results::Table& summary);
/// The table of results::constraint_costs() for people; empty when it has no rows.
std::string constraints_summary(const results::Table& costs);

}  // namespace evictlab::cli
