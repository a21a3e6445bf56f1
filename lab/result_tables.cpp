#include "lab/result_tables.hpp"

#include <fmt/ranges.h>

#include "core/error.hpp"
#include "core/file.hpp"

namespace evictlab::lab {

namespace fs = std::filesystem;

plots::ResultTables read_result_tables(const fs::path& results) {
  const auto read = [](const fs::path& path) -> std::optional<results::Table> {
    if (!fs::exists(path)) return std::nullopt;
    return results::Table::from_csv(core::read_text(path), path.string());
  };
  if (!fs::exists(results)) throw core::InputError("{}: no such file or directory", results.string());
  const bool named = !fs::is_directory(results);
  const fs::path directory = named ? results.parent_path() : results;
  plots::ResultTables tables;
  std::vector<std::string> looked_for;
  for (const std::string& name : plots::figure_tables()) {
    looked_for.push_back(name + ".csv");
    auto table = read(named && name == "replay" ? results : directory / looked_for.back());
    if (table) tables.emplace(name, std::move(*table));
  }
  if (tables.empty()) throw core::InputError("{}: holds none of {}", results.string(), fmt::join(looked_for, ", "));
  return tables;
}

}  // namespace evictlab::lab
