#include "core/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/error.hpp"
#include "core/interrupt.hpp"
#include "core/memory.hpp"
#include "core/text.hpp"

namespace evictlab::core {
namespace {

[[noreturn]] void fail(const char* what, const std::filesystem::path& path, int error) {
  throw InputError("cannot {} '{}': {}", what, path.string(), std::generic_category().message(error));
}

class Descriptor {
 public:
  Descriptor(const std::filesystem::path& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (fd_ < 0) fail("open", path, errno);
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  /// A write error may only show when the file is closed.
  void close_checked(const std::filesystem::path& path) {
    if (close(std::exchange(fd_, -1)) != 0) fail("write", path, errno);
  }

 private:
  int fd_;
};

void write_all(int fd, std::string_view content, const std::filesystem::path& path) {
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", path, errno);
    content.remove_prefix(static_cast<std::size_t>(written));
  }
}

void sync_descriptor(int fd, const std::filesystem::path& path) {
  // EINVAL and EROFS: this file system has nothing to sync (directories of some network file systems).
  if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS) fail("sync", path, errno);
}

// Without it, opening a named pipe would wait for a writer.
constexpr int kReadOnly = O_RDONLY | O_NONBLOCK;

/// The size of an open regular file. Pipes and devices are refused: they may never answer, or never end.
std::size_t regular_size(int fd, const std::filesystem::path& path) {
  struct stat info = {};
  if (fstat(fd, &info) != 0) fail("open", path, errno);
  if (S_ISREG(info.st_mode)) return static_cast<std::size_t>(info.st_size);
  throw InputError("cannot open '{}': not a regular file{}", path.string(),
                   S_ISDIR(info.st_mode) ? " but a directory" : "; save what it gives to a file and name that");
}

constexpr std::size_t kMostTextBytes = std::size_t{4} << 30U;
constexpr std::size_t kSmallFile = std::size_t{1} << 20U;

void require_readable(std::size_t size, const std::filesystem::path& path) {
  if (size <= kMostTextBytes) return;
  throw InputError("cannot read '{}': it holds more than {}, the most a text file may have", path.string(),
                   format_bytes(static_cast<double>(kMostTextBytes)));
}

void unmap(std::span<const std::byte> bytes) {
  if (!bytes.empty()) munmap(const_cast<std::byte*>(bytes.data()), bytes.size());
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file(path, kReadOnly);
  const std::size_t size = regular_size(file.get(), path);
  if (size == 0) return;  // an empty mapping is not allowed
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail("map", path, errno);
  bytes_ = {static_cast<const std::byte*>(data), size};
}

MappedFile::~MappedFile() { unmap(bytes_); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

void MappedFile::release(std::span<const std::byte> part) const {
  // Whole pages inside the part: those at its ends also hold what lies beside it.
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const auto begin = static_cast<std::size_t>(part.data() - bytes_.data());  // a mapping begins with a page
  const std::size_t first = (begin + page - 1) / page * page;
  const std::size_t last = (begin + part.size()) / page * page;
  if (first < last) madvise(const_cast<std::byte*>(bytes_.data()) + first, last - first, MADV_DONTNEED);
}

std::string read_text(const std::filesystem::path& path) {
  const Descriptor file(path, kReadOnly);
  const std::size_t size = regular_size(file.get(), path);
  require_readable(size, path);
  if (size > kSmallFile && static_cast<double>(size) > available_memory()) {
    throw InputError("cannot read '{}': it holds {}, more than there is memory", path.string(),
                     format_bytes(static_cast<double>(size)));
  }
  std::string text;
  text.reserve(size);
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t got = read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path, errno);
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    // While it is read, too: the files of /proc have no size, and others grow.
    require_readable(text.size(), path);
    // Not for small files, which work that was interrupted may need to end well.
    if (text.size() > kSmallFile) throw_if_interrupted();
  }
}

std::optional<FileIdentity> file_identity(const std::filesystem::path& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return std::nullopt;
  return FileIdentity{info.st_dev, info.st_ino};
}

MadeDirectories::~MadeDirectories() {
  std::error_code ignored;  // the directory is not empty
  for (auto it = made_.rbegin(); it != made_.rend(); ++it) std::filesystem::remove(*it, ignored);
}

void MadeDirectories::make(const std::filesystem::path& directory) {
  std::filesystem::path path;
  for (const std::filesystem::path& name : directory) {
    path /= name;
    std::error_code error;
    // Step by step, not create_directories(): "new/.." makes new, and is then there.
    if (std::filesystem::create_directory(path, error)) made_.push_back(path);
    if (std::filesystem::is_directory(path)) continue;
    throw InputError("{}: cannot make the directory {}: {}", directory.string(), path.string(),
                     std::filesystem::exists(path) ? "a file has that name" : error.message());
  }
}

DirectoryLock::~DirectoryLock() { release(); }

void DirectoryLock::release() {
  if (const int descriptor = std::exchange(descriptor_, -1); descriptor >= 0) close(descriptor);
}

bool DirectoryLock::try_lock(const std::filesystem::path& directory) {
  release();  // a second lock of its own would keep out this one
  const int descriptor = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail("open", directory, errno);
  if (flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    close(descriptor);
    return false;
  }
  descriptor_ = descriptor;
  return true;
}

std::filesystem::path temporary_path(const std::filesystem::path& path) { return path.string() + ".tmp"; }

void write_temporary(const std::filesystem::path& path, std::string_view content) {
  const std::filesystem::path temporary = temporary_path(path);
  Descriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  try {
    write_all(file.get(), content, temporary);
    sync_descriptor(file.get(), temporary);
    file.close_checked(temporary);
  } catch (...) {
    unlink(temporary.c_str());
    throw;
  }
}

void write_text(const std::filesystem::path& path, std::string_view content) {
  write_temporary(path, content);
  try {
    rename_durably(temporary_path(path), path);
  } catch (...) {
    unlink(temporary_path(path).c_str());
    throw;
  }
}

void sync_path(const std::filesystem::path& path) {
  const Descriptor file(path, O_RDONLY);
  sync_descriptor(file.get(), path);
}

void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to) {
  std::error_code ignored;
  const std::filesystem::file_type type = std::filesystem::status(to, ignored).type();
  // Renaming would put a file in the place of a device such as /dev/null.
  if (type != std::filesystem::file_type::not_found && type != std::filesystem::file_type::regular &&
      type != std::filesystem::file_type::directory) {
    throw InputError("cannot write '{}': it is there and not a regular file", to.string());
  }
  if (rename(from.c_str(), to.c_str()) != 0) fail("write", to, errno);
  sync_path(to.has_parent_path() ? to.parent_path() : std::filesystem::path("."));
}

}  // namespace evictlab::core
