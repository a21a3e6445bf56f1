#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "results/table.hpp"

namespace evictlab::cli {

/// For a terminal, from tasks.csv: a line per layer over all prompts, and which layers each task asks for most.
std::string analysis_summary(const results::Table& tasks);

/// For a terminal, from differences.csv: how far the preferences over layers lie apart by task, and the layers whose
/// quantities differ beyond their interval.
std::string difference_summary(const results::Table& differences);

/// A table for programs: {"columns": [...], "rows": [[...], ...]}; an empty cell is null.
nlohmann::ordered_json table_json(const results::Table& table);

}  // namespace evictlab::cli
