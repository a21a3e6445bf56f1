#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/error.hpp"

namespace evictlab::fuzz {

inline std::string_view text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The input as a file in a directory of this process's own, in memory.
inline std::filesystem::path file(const std::string& name, const std::uint8_t* data, std::size_t size) {
  static const std::filesystem::path kDirectory = [] {
    const std::filesystem::path made = "/dev/shm/evictlab-fuzz-" + std::to_string(getpid());
    std::filesystem::create_directories(made);
    return made;
  }();
  std::ofstream(kDirectory / name, std::ios::binary)
      .write(reinterpret_cast<const char*>(data), static_cast<long>(size));
  return kDirectory / name;
}

/// Bad input must end in core::InputError of one line; anything else that leaves `read` is a bug and ends the run.
template <typename Read>
int expect_error_or_success(const Read& read) {
  try {
    read();
  } catch (const core::InputError& error) {
    if (std::string_view(error.what()).empty()) std::abort();
  }
  return 0;
}

}  // namespace evictlab::fuzz
