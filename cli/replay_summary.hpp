#pragma once

#include <string>

#include "analysis/table.hpp"

namespace evictlab::cli {

/// The table of sim::summarize() for people: one block a budget, policies by rank, with intervals.
std::string replay_summary(const analysis::Table& summary);

}  // namespace evictlab::cli
