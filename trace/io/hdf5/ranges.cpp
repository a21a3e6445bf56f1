#include "trace/io/hdf5/ranges.hpp"

#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "trace/io/hdf5/datasets.hpp"
#include "trace/io/hdf5/types.hpp"

namespace evictlab::trace::hdf5 {

namespace {

constexpr std::size_t kLongestName = 65536;

// [name: text of `name_bytes`][begin: int64][end: int64], packed.
Handle range_type(std::size_t name_bytes) {
  Handle row(H5Tcreate(H5T_COMPOUND, name_bytes + 16), H5Tclose);
  H5Tinsert(row.get(), "name", 0, text_type(name_bytes).get());
  H5Tinsert(row.get(), "begin", name_bytes, H5T_STD_I64LE);
  H5Tinsert(row.get(), "end", name_bytes + 8, H5T_STD_I64LE);
  return row;
}

}  // namespace

std::vector<std::byte> write_ranges(File& file, const std::string& object, std::span<const NamedRange> ranges) {
  const Lock lock(file.path());
  std::size_t name_bytes = 1;
  for (const NamedRange& range : ranges) name_bytes = std::max(name_bytes, range.name.size());
  if (name_bytes > kLongestName) fail(file, object, "a name is longer than 65536 bytes");
  const auto holds_nul = [](const NamedRange& range) { return range.name.find('\0') != std::string::npos; };
  if (std::ranges::any_of(ranges, holds_nul)) fail(file, object, "a name would hold a NUL");
  const std::size_t row_bytes = name_bytes + 16;
  std::vector<std::byte> rows(ranges.size() * row_bytes);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    std::byte* row = rows.data() + i * row_bytes;
    std::memcpy(row, ranges[i].name.data(), ranges[i].name.size());
    std::memcpy(row + name_bytes, &ranges[i].begin, 8);
    std::memcpy(row + name_bytes + 8, &ranges[i].end, 8);
  }
  file.create_group(parent_of(object));
  const hsize_t extent = ranges.size();
  const Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  write_elements(file, object, range_type(name_bytes), space, rows);
  return rows;
}

StoredRanges read_ranges(const File& file, const std::string& object) {
  const Lock lock(file.path());
  const Handle set = open_dataset(file, object);
  const Dataset info = inspect(file, set, object);
  const Handle type(check(H5Dget_type(set.get()), file, object, "find the type"), H5Tclose);
  const std::size_t name_bytes = info.element_bytes - std::min<std::size_t>(info.element_bytes, 16);
  if (info.type != Type::kTable || info.shape.size() != 1 || name_bytes == 0 || name_bytes > kLongestName ||
      H5Tequal(type.get(), range_type(name_bytes).get()) <= 0) {
    fail(file, object, "is not a table with the columns name (text), begin and end (int64)");
  }
  std::vector<std::byte> rows = file.read_bytes(object);
  std::vector<NamedRange> ranges(info.elements);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const std::byte* row = rows.data() + i * info.element_bytes;
    const auto* name = reinterpret_cast<const char*>(row);
    ranges[i].name.assign(name, strnlen(name, name_bytes));
    std::memcpy(&ranges[i].begin, row + name_bytes, 8);
    std::memcpy(&ranges[i].end, row + name_bytes + 8, 8);
  }
  return {std::move(ranges), std::move(rows)};
}

}  // namespace evictlab::trace::hdf5
