#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trace/io/hdf5/file.hpp"

namespace evictlab::trace::hdf5 {

/// One row of a table of named ranges [begin, end).
struct NamedRange {
  std::string name;
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// Writes a table with the columns name, begin and end. Returns the bytes as stored.
std::vector<std::byte> write_ranges(File& file, const std::string& object, std::span<const NamedRange> ranges);

/// A table as it was read.
struct StoredRanges {
  std::vector<NamedRange> ranges;
  std::vector<std::byte> bytes;  // as stored
};
/// Reads such a table; throws TraceError for any other dataset.
StoredRanges read_ranges(const File& file, const std::string& object);

}  // namespace evictlab::trace::hdf5
