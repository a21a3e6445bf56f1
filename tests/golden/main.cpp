// Every golden case that is found, recomputed: one line each, then "N of N golden cases reproduced".
//
//   golden_test                     reads tests/golden
//   EVICTLAB_GOLDEN=dir[:dir...]    reads these directories and what lies below them instead
//
// Exit code 0 when all cases are reproduced, 1 when some are not, 2 when they cannot be read.

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "checks.hpp"
#include "core/text.hpp"

namespace evictlab::golden {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> golden_files() {
  const char* given = std::getenv("EVICTLAB_GOLDEN");
  const std::string directories = given != nullptr && *given != '\0' ? given : EVICTLAB_GOLDEN_DIRECTORY;
  std::vector<fs::path> files;
  for (const std::string& directory : core::split(directories, ':')) {
    if (directory.empty()) continue;
    if (!fs::is_directory(directory)) throw core::InputError("golden_test: {} is not a directory", directory);
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
      if (entry.is_regular_file() && kind_of(entry.path()) != FileKind::kOther) files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

class Report {
 public:
  void add(const fs::path& file, const std::string& name, const std::string& difference) {
    ++cases_;
    reproduced_ += difference.empty() ? 1 : 0;
    std::cout << (difference.empty() ? "ok   " : "FAIL ") << file.filename().string() << (name.empty() ? "" : " ")
              << name << (difference.empty() ? "" : ": " + difference) << '\n';
  }
  int finish() const {
    std::cout << fmt::format("{} of {} golden cases reproduced\n", reproduced_, cases_);
    if (cases_ == 0) throw core::InputError("golden_test: no golden files found");
    return reproduced_ == cases_ ? 0 : 1;
  }

 private:
  std::size_t cases_ = 0;
  std::size_t reproduced_ = 0;
};

void check_family(const fs::path& path, Report& report) {
  const auto file = trace::hdf5::File::open(path);
  const Inputs inputs(file);
  const bool cake_family = file.text("/", "family") == "cake";
  for (const std::string& name : file.children("/golden")) {
    const Case golden(file, name, cake_family);
    std::string difference;
    try {
      difference = check_case(file, inputs, golden);
    } catch (const core::InputError& error) {
      difference = error.what();
    }
    report.add(path, name, difference);
  }
}

int run() {
  Report report;
  for (const fs::path& path : golden_files()) {
    if (kind_of(path) == FileKind::kFamily) {
      check_family(path, report);
    } else {
      report.add(path, "", check_adjust_budgets(trace::hdf5::File::open(path)));
    }
  }
  return report.finish();
}

}  // namespace
}  // namespace evictlab::golden

int main() {
  try {
    return evictlab::golden::run();
  } catch (const evictlab::core::InputError& error) {
    std::cerr << error.what() << '\n';
    return 2;
  }
}
