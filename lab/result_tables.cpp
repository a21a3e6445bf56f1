#include "lab/result_tables.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.hpp"
#include "core/file.hpp"
#include "lab/result_folder.hpp"

namespace evictlab::lab {
namespace {

namespace fs = std::filesystem;

/// Where the table called `name` is looked for: a file given by name stands for the replay table.
fs::path result_table_path(const fs::path& results, const std::string& name) {
  if (fs::is_directory(results)) return results / (name + ".csv");
  return name == "replay" ? results : results.parent_path() / (name + ".csv");
}

}  // namespace

std::vector<fs::path> result_table_files(const fs::path& results) {
  if (!fs::exists(results)) throw core::InputError("{}: no such file or directory", results.string());
  std::vector<fs::path> files;
  for (const std::string& name : plots::figure_tables()) {
    const fs::path path = result_table_path(results, name);
    if (fs::exists(path)) files.push_back(path);
  }
  if (files.empty()) {
    throw core::InputError("{}: holds none of {}.csv", results.string(), fmt::join(plots::figure_tables(), ".csv, "));
  }
  return files;
}

plots::ResultTables read_result_tables(const fs::path& results) {
  result_table_files(results);
  plots::ResultTables tables;
  for (const std::string& name : plots::figure_tables()) {
    const fs::path path = result_table_path(results, name);
    if (fs::exists(path))
      tables.emplace(name, evictlab::results::Table::from_csv(core::read_text(path), path.string()));
  }
  return tables;
}

void report_unlisted(const std::vector<fs::path>& files, Observer& observer) {
  std::vector<std::string> names;
  for (const fs::path& path : unlisted_files(files)) names.push_back(path.filename().string());
  if (names.empty()) return;
  observer.message(Topic::kNote, fmt::format("no manifest beside it lists {}: the run that wrote it was killed, or it "
                                             "comes from elsewhere",
                                             fmt::join(names, ", ")));
}

}  // namespace evictlab::lab
