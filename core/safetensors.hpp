#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.hpp"

// Reading safetensors files (https://huggingface.co/docs/safetensors). A file is
//
//   8 bytes   N, little-endian
//   N bytes   JSON: {"name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
//   the rest  the tensors' bytes, row-major; offsets count from here and cover it without gaps or overlaps
//
// Files are mapped, never read whole: a tensor costs memory only while its pages are in use.

namespace evictlab::core {

/// A tensor inside a mapped file. Valid as long as the file.
struct StoredTensor {
  std::string name;
  std::string dtype;                 // as the file says it: "F32", "F16", "BF16", ...
  std::vector<std::uint64_t> shape;  // their product fits into 64 bits
  std::span<const std::byte> bytes;  // exactly product(shape) elements; not necessarily aligned
};

/// "[2, 3]"
std::string shape_text(std::span<const std::uint64_t> shape);

/// Bytes of one element, 0 for a type the format does not have.
std::size_t dtype_bytes(std::string_view dtype);

class SafetensorsFile {
 public:
  /// Throws InputError in one line naming the file: it cannot be opened, truncated or oversized header, bad JSON, a
  /// name that occurs twice, an unknown dtype, offsets that leave the file, overlap, leave holes or disagree with dtype
  /// and shape.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  /// In the order of their bytes.
  const std::vector<StoredTensor>& tensors() const { return tensors_; }

 private:
  core::MappedFile file_;
  std::vector<StoredTensor> tensors_;
};

}  // namespace evictlab::core
