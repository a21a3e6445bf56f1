#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace evictlab::core {

/// A file's bytes, mapped read-only. Throws InputError when it cannot be opened or is not a regular file.
/// Whoever touches bytes that the file has lost since gets SIGBUS: see install_interrupt_handler().
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }
  /// Takes the memory of a part that is not needed for now out of the process; touching it again brings it back.
  /// `part` lies inside bytes(). Thread-safe.
  void release(std::span<const std::byte> part) const;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

/// The whole of a text file. Throws InputError when it cannot be read.
std::string read_text(const std::filesystem::path& path);

/// Writes `path` so that it holds either its old content or all of `content`, whatever happens:
/// writes path.tmp, syncs it, renames it. Throws InputError when that fails, leaving no path.tmp.
void write_text(const std::filesystem::path& path, std::string_view content);

/// Flushes a file's (or directory's) data to the disk. Throws InputError.
void sync_path(const std::filesystem::path& path);

/// Renames `from` to `to` and syncs the directory, so that the rename survives a crash. Throws InputError.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace evictlab::core
