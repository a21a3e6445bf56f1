#pragma once

#include <filesystem>

#include "plots/figures.hpp"

namespace evictlab::lab {

/// The result tables of a directory; or a replay table and those that stand beside it. Throws core::InputError when
/// there is none.
plots::ResultTables read_result_tables(const std::filesystem::path& results);

}  // namespace evictlab::lab
