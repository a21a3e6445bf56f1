#include "trace/imports/npy.hpp"

#include <fmt/format.h>

#include <array>
#include <limits>
#include <optional>

#include "core/text.hpp"

namespace evictlab::trace {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The header's text, and where the elements begin.
std::pair<std::string_view, std::size_t> header(std::span<const std::byte> bytes, const std::string& where) {
  const std::string_view text = as_text(bytes);
  if (!text.starts_with(kMagic)) throw TraceError("{}: not a .npy file: it does not begin with \\x93NUMPY", where);
  // Version 1.0 has a length of two bytes, 2.0 and 3.0 of four.
  const std::size_t begin = kMagic.size() + 2;
  if (bytes.size() < begin + 4) throw TraceError("{}: truncated: {} bytes", where, bytes.size());
  const int version = std::to_integer<int>(bytes[kMagic.size()]);
  if (version < 1 || version > 3) throw TraceError("{}: .npy version {}, known are 1 to 3", where, version);
  const std::size_t length_bytes = version == 1 ? 2 : 4;
  std::size_t length = 0;
  for (std::size_t i = length_bytes; i-- > 0;) length = length << 8U | std::to_integer<std::size_t>(bytes[begin + i]);
  const std::size_t first = begin + length_bytes;
  if (length > bytes.size() - first) {
    throw TraceError("{}: truncated: a header of {} bytes in a file of {}", where, length, bytes.size());
  }
  return {text.substr(first, length), first + length};
}

// What follows "'key':" in the header up to one of the characters that end it.
std::string_view entry(std::string_view header, std::string_view key, const std::string& where) {
  const std::string quoted = fmt::format("'{}':", key);
  const std::size_t found = header.find(quoted);
  if (found == std::string_view::npos) throw TraceError("{}: its header has no {}", where, key);
  return core::trim(header.substr(found + quoted.size()));
}

std::string safetensors_dtype(std::string_view descriptor, const std::string& where) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kTypes = {{{"'<f2'", "F16"},
                                                                                    {"'<f4'", "F32"},
                                                                                    {"'<f8'", "F64"},
                                                                                    {"'<i4'", "I32"},
                                                                                    {"'<i8'", "I64"},
                                                                                    {"'<u4'", "U32"},
                                                                                    {"'<u8'", "U64"},
                                                                                    {"'<i2'", "I16"}}};
  for (const auto& [numpy, name] : kTypes) {
    if (descriptor.starts_with(numpy)) return std::string(name);
  }
  const std::string_view shown = descriptor.substr(0, descriptor.find(','));
  throw TraceError("{}: elements of type {}, known are little-endian floats and integers such as '<f4'", where, shown);
}

std::vector<std::uint64_t> shape_of(std::string_view text, const std::string& where) {
  const std::size_t end = text.find(')');
  if (!text.starts_with('(') || end == std::string_view::npos) throw TraceError("{}: its header has no shape", where);
  std::vector<std::uint64_t> shape;
  for (const std::string& size : core::split(text.substr(1, end - 1), ',')) {
    if (core::trim(size).empty()) continue;  // "(3,)"
    const std::optional<std::int64_t> value = core::parse_integer(core::trim(size));
    if (!value || *value < 0) throw TraceError("{}: its shape holds '{}', which is no size", where, size);
    shape.push_back(static_cast<std::uint64_t>(*value));
  }
  return shape;
}

}  // namespace

NpyFile::NpyFile(const std::filesystem::path& path) : file_(path) {
  const std::string where = path.string();
  const auto [text, first] = header(file_.bytes(), where);
  array_.name = "array";
  array_.dtype = safetensors_dtype(entry(text, "descr", where), where);
  array_.shape = shape_of(entry(text, "shape", where), where);
  if (!entry(text, "fortran_order", where).starts_with("False")) {
    throw TraceError("{}: is in Fortran's order; save numpy.ascontiguousarray(array)", where);
  }
  std::uint64_t bytes = core::dtype_bytes(array_.dtype);
  for (const std::uint64_t size : array_.shape) {
    if (size != 0 && bytes > std::numeric_limits<std::uint64_t>::max() / size) {
      throw TraceError("{}: shape {} overflows", where, core::shape_text(array_.shape));
    }
    bytes *= size;
  }
  if (bytes != file_.bytes().size() - first) {
    throw TraceError("{}: shape {} of {} needs {} bytes, but {} follow the header", where,
                     core::shape_text(array_.shape), array_.dtype, bytes, file_.bytes().size() - first);
  }
  array_.bytes = file_.bytes().subspan(first);
}

}  // namespace evictlab::trace
