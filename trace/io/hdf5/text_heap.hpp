#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

namespace evictlab::trace::hdf5 {

/// The stored reference to a text of variable length: length (4 bytes), address of the heap (8),
/// number of the object in it (4), little-endian.
using TextReference = std::array<std::byte, 16>;

/// The text, read past HDF5; nothing when the file does not hold it there. Checks the whole heap, so that
/// HDF5 can read it afterwards. (HDF5 File Format Specification 3.0, III.E: global heap, version 1.)
std::optional<std::string> heap_text(const std::filesystem::path& file, const TextReference& reference);

}  // namespace evictlab::trace::hdf5
