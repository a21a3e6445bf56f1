#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "core/interrupt.hpp"
#include "trace/io/hdf5/file.hpp"

// This folder calls HDF5 under one lock, with every identifier owned and every status checked.
// HDF5's identifiers (hid_t) are 64-bit integers here, so that no header needs hdf5.h.

namespace evictlab::trace::hdf5 {

/// Serialises all calls to HDF5, which has one lock for the whole library where it was built with one at all.
/// Also switches off its error printing, a setting per thread, and gives a crash the file at `path` as its cause.
class Lock {
 public:
  explicit Lock(const std::filesystem::path& path);

 private:
  static std::recursive_mutex& mutex();
  std::lock_guard<std::recursive_mutex> guard_;
  core::ScopedCrashMessage message_;
};

/// Owns an identifier of HDF5 and closes it with the function for its kind.
class Handle {
 public:
  using Close = int (*)(std::int64_t);
  Handle(std::int64_t id, Close close) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  std::int64_t get() const { return id_; }

 private:
  std::int64_t id_;
  Close close_;
};

/// The innermost entry of HDF5's error stack: what went wrong before everybody above gave up. Clears the stack.
std::string error_reason();

/// Throws TraceError "<file>: <object>: cannot <action>: <reason>".
[[noreturn]] void fail_call(const File& file, const std::string& object, std::string_view action);

/// Passes an identifier or a status through; a negative one is a failure.
template <typename Status>
Status check(Status status, const File& file, const std::string& object, std::string_view action) {
  if (status < 0) fail_call(file, object, action);
  return status;
}

/// Properties for making groups, datasets and files: without time stamps, so that equal content gives equal bytes,
/// and with attributes in the object's own header (by default the ninth would move all of them into mostly empty
/// blocks apart).
Handle creation_properties(std::int64_t list_class);

/// The path of the group that holds an object.
std::string parent_of(const std::string& object);

/// Opens an object. Throws TraceError when it is not there through hard links alone.
Handle open_object(const File& file, const std::string& object);

}  // namespace evictlab::trace::hdf5
