#include "core/safetensors.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/json.hpp"

namespace evictlab::core {
namespace {

// The limit of the format's reference implementation.
constexpr std::uint64_t kLargestHeader = 100'000'000;
constexpr std::uint64_t kLengthBytes = 8;

struct DTypeSize {
  std::string_view name;
  std::size_t bytes;
};
constexpr DTypeSize kDTypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
                                 {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
                                 {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};

std::uint64_t header_length(std::span<const std::byte> bytes, const std::string& where) {
  if (bytes.size() < kLengthBytes) {
    throw InputError("{}: {} bytes, too short for a safetensors file", where, bytes.size());
  }
  std::uint64_t length = 0;
  for (std::uint64_t i = kLengthBytes; i-- > 0;) length = length << 8U | std::to_integer<std::uint64_t>(bytes[i]);
  if (length > kLargestHeader) {
    throw InputError("{}: header of {} bytes, more than the format's {}", where, length, kLargestHeader);
  }
  if (length > bytes.size() - kLengthBytes) {
    throw InputError("{}: truncated: header of {} bytes in a file of {}", where, length, bytes.size());
  }
  return length;
}

std::vector<std::uint64_t> sizes(const JsonNode& list) {
  std::vector<std::uint64_t> values;
  for (const std::int64_t value : list.integers(0, std::numeric_limits<std::int64_t>::max())) {
    values.push_back(static_cast<std::uint64_t>(value));
  }
  return values;
}

std::uint64_t byte_count(const StoredTensor& tensor, const std::string& label) {
  std::uint64_t count = dtype_bytes(tensor.dtype);
  if (count == 0) throw InputError("{}: unknown dtype '{}'", label, tensor.dtype);
  for (const std::uint64_t size : tensor.shape) {
    if (size != 0 && count > std::numeric_limits<std::uint64_t>::max() / size) {
      throw InputError("{}: shape {} overflows", label, shape_text(tensor.shape));
    }
    count *= size;
  }
  return count;
}

StoredTensor read_entry(const JsonMember& member, std::span<const std::byte> data, const std::string& where) {
  const auto& [name, entry] = member;
  const std::string label = fmt::format("{}: tensor '{}'", where, name);
  StoredTensor tensor{
      .name = name, .dtype = entry.at("dtype").string(), .shape = sizes(entry.at("shape")), .bytes = {}};
  const std::uint64_t expected = byte_count(tensor, label);
  const std::vector<std::uint64_t> offsets = sizes(entry.at("data_offsets"));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    throw InputError("{}: data_offsets {}, expected [begin, end]", label, shape_text(offsets));
  }
  if (offsets[1] > data.size()) {
    throw InputError("{}: bytes [{}, {}) leave the file, which has {} bytes of data", label, offsets[0], offsets[1],
                     data.size());
  }
  if (offsets[1] - offsets[0] != expected) {
    throw InputError("{}: {} bytes, but {} of shape {} takes {}", label, offsets[1] - offsets[0], tensor.dtype,
                     shape_text(tensor.shape), expected);
  }
  tensor.bytes = data.subspan(offsets[0], expected);
  return tensor;
}

/// Tensors must follow each other and fill the data to its end.
void check_coverage(const std::vector<StoredTensor>& tensors, std::span<const std::byte> data,
                    const std::string& where) {
  std::uint64_t covered = 0;
  for (const StoredTensor& tensor : tensors) {
    const auto begin = static_cast<std::uint64_t>(tensor.bytes.data() - data.data());
    if (begin != covered) {
      throw InputError("{}: tensor '{}' begins at byte {} of the data, {} byte {} before it", where, tensor.name, begin,
                       begin < covered ? "inside another that ends at" : "leaving a hole from", covered);
    }
    covered += tensor.bytes.size();
  }
  if (covered != data.size()) {
    throw InputError("{}: {} bytes after the last tensor", where, data.size() - covered);
  }
}

}  // namespace

std::string shape_text(std::span<const std::uint64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::size_t dtype_bytes(std::string_view dtype) {
  const auto* const found = std::ranges::find(kDTypes, dtype, &DTypeSize::name);
  return found == std::end(kDTypes) ? 0 : found->bytes;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string where = path.string();
  const std::span<const std::byte> bytes = file_.bytes();
  const std::uint64_t length = header_length(bytes, where);
  const auto text = bytes.subspan(kLengthBytes, length);
  const auto header =
      JsonDocument::parse({reinterpret_cast<const char*>(text.data()), text.size()}, where + ": safetensors header");
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
  for (const JsonMember& member : header.root().members()) {
    if (member.key != "__metadata__") tensors_.push_back(read_entry(member, data, where));
  }
  // Empty tensors sort before the one that begins where they do.
  std::ranges::stable_sort(tensors_, [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  check_coverage(tensors_, data, where);
}

}  // namespace evictlab::core
