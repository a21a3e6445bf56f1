#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace evictlab::trace::hdf5 {

/// The stored reference to a text of variable length: length (4 bytes), address of the heap (8),
/// number of the object in it (4), little-endian.
using TextReference = std::array<std::byte, 16>;

/// Reads texts past HDF5. (HDF5 File Format Specification 3.0, III.E: global heap, version 1.) A heap is read once:
/// what is written later is not seen.
class TextHeaps {
 public:
  explicit TextHeaps(std::filesystem::path file) : file_(std::move(file)) {}
  /// The text; nothing when the file does not hold it there. Checks the whole heap, so that HDF5 can read it
  /// afterwards.
  std::optional<std::string> text(const TextReference& reference);

 private:
  std::filesystem::path file_;
  std::map<std::uint64_t, std::optional<std::vector<std::byte>>> heaps_;  // by address
};

}  // namespace evictlab::trace::hdf5
