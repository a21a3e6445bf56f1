#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.hpp"
#include "core/gguf_metadata.hpp"
#include "core/storage_type.hpp"

// Reading GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), versions 2 and 3, little-endian:
//
//   "GGUF", u32 version, u64 number of tensors, u64 number of key-value pairs
//   the pairs: a key, a type, a value
//   for each tensor: a name, u32 number of sizes, u64 sizes (the innermost first), u32 type, u64 offset
//   padding to a multiple of general.alignment (32); from there offsets count
//   the tensors' bytes, row-major
//
// A large model is split into files NAME-00001-of-0000N.gguf, of which the first has the metadata. Files are mapped,
// never read whole: a tensor costs memory only while its pages are in use.

namespace evictlab::core {

/// A tensor inside a mapped file. Valid as long as the file.
struct GgufTensor {
  std::string_view name;
  StorageType type = StorageType::kFloat32;
  std::vector<std::uint64_t> shape;  // the outermost first: [rows, columns]
  std::span<const std::byte> bytes;  // exactly those of the shape
};

/// Whether a path given as a model is one of a GGUF file, not of a directory.
bool is_gguf_path(const std::filesystem::path& path);
/// Throws InputError unless the path is that of a GGUF file or a directory.
void require_model_path(const std::filesystem::path& path);

/// The files of the model that `path` names, which need not be there: those that it was split into, or itself.
std::vector<std::filesystem::path> gguf_parts(const std::filesystem::path& path);

/// A model's name: that of its file without ".gguf" and without "-00001-of-0000N".
std::string gguf_name(const std::filesystem::path& path);

class GgufFile {
 public:
  /// Opens a model's GGUF file, of a split one the first, and with it the others. Throws InputError in one line naming
  /// the file: it cannot be opened, is not GGUF, is of another version or byte order, is truncated; counts, sizes or
  /// offsets that leave the file; tensors that overlap or occur twice, a type that is not supported, by its name; parts
  /// that do not belong together.
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const GgufMetadata& metadata() const { return *metadata_; }
  /// Of all parts, each part's in the order of their bytes.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  /// Null where there is none.
  const GgufTensor* find_tensor(std::string_view name) const;

 private:
  void read_part(const std::filesystem::path& path, std::size_t number, std::size_t parts);

  std::filesystem::path path_;
  std::vector<MappedFile> files_;
  std::unique_ptr<GgufMetadata> metadata_;  // the first part's
  std::vector<GgufTensor> tensors_;
};

}  // namespace evictlab::core
