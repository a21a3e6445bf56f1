#pragma once

#include <filesystem>
#include <vector>

#include "lab/observer.hpp"
#include "plots/figures.hpp"

namespace evictlab::lab {

/// The files of result tables in a directory; or a replay table and those that stand beside it. Throws
/// core::InputError when there is none.
std::vector<std::filesystem::path> result_table_files(const std::filesystem::path& results);

plots::ResultTables read_result_tables(const std::filesystem::path& results);

/// Reports those that no manifest lists: the run that wrote them may have been killed before it ended.
void report_unlisted(const std::vector<std::filesystem::path>& files, Observer& observer);

}  // namespace evictlab::lab
