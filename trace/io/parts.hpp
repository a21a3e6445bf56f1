#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace evictlab::trace {

/// The part that holds the model; every other part holds one prompt.
inline constexpr std::string_view kModelPart = "model.h5";

/// Where the parts of a trace to be are collected: "<trace>.parts".
std::filesystem::path parts_directory(const std::filesystem::path& trace);

/// The finished parts of prompts in a directory, sorted by name.
std::vector<std::filesystem::path> list_parts(const std::filesystem::path& directory);

/// Removes what a killed recording had begun and not finished (*.tmp).
void remove_unfinished(const std::filesystem::path& directory);

/// Held by the one process that records into a directory of parts. The system lets go of it when the
/// process ends, however it ends.
class PartsLock {
 public:
  /// Throws TraceError when another process records there.
  explicit PartsLock(const std::filesystem::path& directory);
  ~PartsLock();
  PartsLock(const PartsLock&) = delete;
  PartsLock& operator=(const PartsLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace evictlab::trace
