#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

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

/// The whole of a text file. Throws InputError when it cannot be read, is not a regular file, holds more than 4 GiB or
/// more than there is memory; Interrupted when a signal comes while it reads a large one.
std::string read_text(const std::filesystem::path& path);

/// Which file a path leads to, however it is spelled: the same for symbolic and hard links.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  auto operator<=>(const FileIdentity&) const = default;
};

/// Empty when `path` leads to no file.
std::optional<FileIdentity> file_identity(const std::filesystem::path& path);

/// Makes directories for files that may never come: those that are empty when it goes are removed again.
class MadeDirectories {
 public:
  MadeDirectories() = default;
  ~MadeDirectories();
  MadeDirectories(const MadeDirectories&) = delete;
  MadeDirectories& operator=(const MadeDirectories&) = delete;

  /// Makes `directory` and those above it; "" is there already. Throws InputError.
  void make(const std::filesystem::path& directory);

 private:
  std::vector<std::filesystem::path> made_;  // the outermost first
};

/// Keeps other processes out of a directory, until it goes or the process ends, however it ends.
class DirectoryLock {
 public:
  DirectoryLock() = default;
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  /// False when another process holds it. True on file systems that cannot lock, where nobody is kept out. Throws
  /// InputError when the directory cannot be opened.
  bool try_lock(const std::filesystem::path& directory);
  void release();

 private:
  int descriptor_ = -1;
};

/// path.tmp, which write_temporary() writes.
std::filesystem::path temporary_path(const std::filesystem::path& path);

/// Writes all of `content` to temporary_path(path) and syncs it: rename_durably() puts it in place. Throws InputError
/// when that fails, leaving no temporary file.
void write_temporary(const std::filesystem::path& path, std::string_view content);

/// Writes `path` so that it holds either its old content or all of `content`, whatever happens:
/// write_temporary(), then rename_durably(). Throws InputError when that fails, leaving no temporary file.
void write_text(const std::filesystem::path& path, std::string_view content);

/// Flushes a file's (or directory's) data to the disk. Throws InputError.
void sync_path(const std::filesystem::path& path);

/// Renames `from` to `to` and syncs the directory, so that the rename survives a crash. Throws InputError.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace evictlab::core
