#include "core/memory.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace evictlab::core {
namespace {

namespace fs = std::filesystem;

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

/// The number after `name` in a file of lines "NAME NUMBER ..."; without a name the one it begins with. Nothing where
/// there is none, as where a limit is "max".
std::optional<double> number_in(const fs::path& path, std::string_view name = "") {
  std::ifstream in(path);
  double number = 0;
  if (name.empty()) return in >> number ? std::optional(number) : std::nullopt;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string word;
    if (words >> word && word == name && words >> number) return number;
  }
  return std::nullopt;
}

/// What control groups call their limit, what is used of it, and where they stand in the file system.
struct ControlGroups {
  const char* line;  // of /proc/self/cgroup, before the group's path
  const char* root;
  const char* limit;
  const char* used;
};
constexpr std::array kControlGroups{
    ControlGroups{"0::", "/sys/fs/cgroup", "memory.max", "memory.current"},
    ControlGroups{":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"}};

/// The limit less what is used and could not be taken back from the page cache.
double left_by(const ControlGroups& groups, const std::string& group) {
  // Inside a container the group's own path is often not mounted, but its directory is the root.
  for (const std::string& path : {groups.root + group, std::string(groups.root)}) {
    const auto limit = number_in(fs::path(path) / groups.limit);
    const auto used = number_in(fs::path(path) / groups.used);
    if (!limit || !used) continue;
    return *limit - *used + number_in(fs::path(path) / "memory.stat", "inactive_file").value_or(0);
  }
  return kUnlimited;
}

double left_by_control_groups() {
  double left = kUnlimited;
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    for (const ControlGroups& groups : kControlGroups) {
      const std::size_t at = line.find(groups.line);
      if (at != std::string::npos) left = std::min(left, left_by(groups, line.substr(at + std::strlen(groups.line))));
    }
  }
  return left;
}

double left_of_address_space() {
  rlimit limit = {};
  const auto pages = number_in("/proc/self/statm");
  if (!pages || getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  return static_cast<double>(limit.rlim_cur) - *pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double left_in_the_system() {
  const auto kibibytes = number_in("/proc/meminfo", "MemAvailable:");
  return kibibytes ? *kibibytes * 1024 : kUnlimited;
}

}  // namespace

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kMostMapThreshold = 32 << 20;  // glibc takes no more
  constexpr int kTrimThreshold = 512 << 20;
  mallopt(M_MMAP_THRESHOLD, kMostMapThreshold);
  mallopt(M_TRIM_THRESHOLD, kTrimThreshold);
#endif
}

double available_memory() {
  return std::max(0.0, std::min({left_in_the_system(), left_by_control_groups(), left_of_address_space()}));
}

}  // namespace evictlab::core
