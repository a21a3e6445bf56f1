#include "trace/io/parts_directory.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "trace/model.hpp"

namespace evictlab::trace {

namespace fs = std::filesystem;

fs::path parts_directory(const fs::path& trace) { return trace.string() + ".parts"; }

std::vector<fs::path> list_parts(const fs::path& directory) {
  std::vector<fs::path> parts;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".h5" && entry.path().filename() != kModelPart) parts.push_back(entry.path());
  }
  std::ranges::sort(parts);
  return parts;
}

void remove_unfinished(const fs::path& directory) {
  std::vector<fs::path> unfinished;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".tmp") unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) fs::remove(path);
}

PartsLock::PartsLock(const fs::path& directory)
    : descriptor_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (descriptor_ < 0) throw TraceError("{}: {}", directory.string(), std::strerror(errno));
  // File systems that cannot lock answer with another error: then nobody is kept out.
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(descriptor_);
    throw TraceError("{}: another recording is writing there", directory.string());
  }
}

PartsLock::~PartsLock() { ::close(descriptor_); }

}  // namespace evictlab::trace
