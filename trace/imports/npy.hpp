#pragma once

#include <filesystem>

#include "core/file.hpp"
#include "core/safetensors.hpp"
#include "trace/model.hpp"

// Reading .npy files (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): the bytes "\x93NUMPY",
// a version, and a header that is a Python dictionary of three keys, padded with spaces to a multiple of 64 bytes.

namespace evictlab::trace {

/// One array in a mapped file.
class NpyFile {
 public:
  /// Throws TraceError (InputError if it cannot be opened) in one line naming the file: no .npy file, a truncated one,
  /// a type that is not little-endian numbers of a known size, or Fortran's order.
  explicit NpyFile(const std::filesystem::path& path);

  /// With the name "array" and dtype as safetensors calls it: "F32". Valid as long as the file.
  const core::StoredTensor& array() const { return array_; }

 private:
  core::MappedFile file_;
  core::StoredTensor array_;
};

}  // namespace evictlab::trace
