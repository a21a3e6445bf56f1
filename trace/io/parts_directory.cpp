#include "trace/io/parts_directory.hpp"

#include <algorithm>
#include <string>

namespace evictlab::trace {

namespace fs = std::filesystem;

fs::path parts_directory(const fs::path& trace) { return trace.string() + ".parts"; }

std::vector<fs::path> list_parts(const fs::path& directory) {
  std::vector<fs::path> parts;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".h5" && entry.path().filename() != kModelPart) parts.push_back(entry.path());
  }
  std::ranges::sort(parts);
  return parts;
}

void remove_unfinished(const fs::path& directory) {
  std::vector<fs::path> unfinished;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().filename().string().ends_with(".h5.tmp")) unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) fs::remove(path);
}

void remove_parts(const fs::path& directory) {
  std::error_code ignored;
  std::vector<fs::path> own = {directory / kModelPart};
  try {
    remove_unfinished(directory);
    const std::vector<fs::path> parts = list_parts(directory);
    own.insert(own.end(), parts.begin(), parts.end());
  } catch (const fs::filesystem_error&) {
    return;
  }
  for (const fs::path& path : own) fs::remove(path, ignored);
  fs::remove(directory, ignored);  // not when it holds files of others
}

}  // namespace evictlab::trace
