#include "runtime/safetensors.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/json.hpp"
#include "runtime/model_error.hpp"

namespace evictlab::runtime {
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
    throw ModelError("{}: {} bytes, too short for a safetensors file", where, bytes.size());
  }
  std::uint64_t length = 0;
  for (std::uint64_t i = kLengthBytes; i-- > 0;) length = length << 8U | std::to_integer<std::uint64_t>(bytes[i]);
  if (length > kLargestHeader) {
    throw ModelError("{}: header of {} bytes, more than the format's {}", where, length, kLargestHeader);
  }
  if (length > bytes.size() - kLengthBytes) {
    throw ModelError("{}: truncated: header of {} bytes in a file of {}", where, length, bytes.size());
  }
  return length;
}

/// An array of whole numbers >= 0 under `key`.
std::vector<std::uint64_t> numbers(const nlohmann::json& entry, const char* key, const std::string& tensor) {
  const auto found = entry.find(key);
  if (found == entry.end() || !found->is_array()) throw ModelError("{}: no array '{}'", tensor, key);
  std::vector<std::uint64_t> values;
  for (const auto& value : *found) {
    if (!value.is_number_unsigned()) throw ModelError("{}: '{}' holds something else than sizes", tensor, key);
    values.push_back(value.get<std::uint64_t>());
  }
  return values;
}

std::uint64_t byte_count(const StoredTensor& tensor, const std::string& label) {
  std::uint64_t count = dtype_bytes(tensor.dtype);
  if (count == 0) throw ModelError("{}: unknown dtype '{}'", label, tensor.dtype);
  for (const std::uint64_t size : tensor.shape) {
    if (size != 0 && count > std::numeric_limits<std::uint64_t>::max() / size) {
      throw ModelError("{}: shape {} overflows", label, shape_text(tensor.shape));
    }
    count *= size;
  }
  return count;
}

StoredTensor read_entry(const std::string& name, const nlohmann::json& entry, std::span<const std::byte> data,
                        const std::string& where) {
  const std::string label = fmt::format("{}: tensor '{}'", where, name);
  if (!entry.is_object()) throw ModelError("{}: described by a JSON {}, expected an object", label, entry.type_name());
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) throw ModelError("{}: no string 'dtype'", label);
  StoredTensor tensor{
      .name = name, .dtype = dtype->get<std::string>(), .shape = numbers(entry, "shape", label), .bytes = {}};
  const std::uint64_t expected = byte_count(tensor, label);
  const std::vector<std::uint64_t> offsets = numbers(entry, "data_offsets", label);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    throw ModelError("{}: data_offsets {}, expected [begin, end]", label, shape_text(offsets));
  }
  if (offsets[1] > data.size()) {
    throw ModelError("{}: bytes [{}, {}) leave the file, which has {} bytes of data", label, offsets[0], offsets[1],
                     data.size());
  }
  if (offsets[1] - offsets[0] != expected) {
    throw ModelError("{}: {} bytes, but {} of shape {} takes {}", label, offsets[1] - offsets[0], tensor.dtype,
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
      throw ModelError("{}: tensor '{}' begins at byte {} of the data, {} byte {} before it", where, tensor.name, begin,
                       begin < covered ? "inside another that ends at" : "leaving a hole from", covered);
    }
    covered += tensor.bytes.size();
  }
  if (covered != data.size()) {
    throw ModelError("{}: {} bytes after the last tensor", where, data.size() - covered);
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
  const nlohmann::json header =
      parse_object({reinterpret_cast<const char*>(text.data()), text.size()}, where + ": safetensors header");
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + length);
  for (const auto& [name, entry] : header.items()) {
    if (name != "__metadata__") tensors_.push_back(read_entry(name, entry, data, where));
  }
  // Empty tensors sort before the one that begins where they do.
  std::ranges::stable_sort(tensors_, [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
  });
  check_coverage(tensors_, data, where);
}

}  // namespace evictlab::runtime
