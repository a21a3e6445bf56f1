#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trace/model.hpp"

// This folder is the fence around HDF5: nothing outside it includes hdf5.h. Objects are named by their path inside the
// file ("/prompts/a/tokens"). Every failure is a TraceError of one line with the file, the object and HDF5's own
// innermost reason. All calls are thread-safe.

namespace evictlab::trace::hdf5 {

class Handle;

/// Element types of datasets. Floats are IEEE 754's.
enum class Type {
  kFloat16,
  kFloat32,
  kFloat64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kBoolean,  // an enumeration of one byte, as h5py writes bool
  kText,
  kTable,
  kOther,
};
/// "float16", ..., "text", "table", "other".
std::string_view type_name(Type type);

/// Describes a dataset: its elements and their place in the file.
struct Dataset {
  Type type = Type::kOther;
  std::vector<std::uint64_t> shape;
  std::uint64_t elements = 0;
  std::size_t element_bytes = 0;
  std::uint64_t stored_bytes = 0;  // in the file; less than elements * element_bytes when compressed
  /// The first byte of the elements in the file, if they lie there in one piece as read_bytes() gives them.
  std::optional<std::uint64_t> offset;
};

/// Reads and writes one open HDF5 file. Its members are implemented by topic: files, groups and copies in file.cpp,
/// attributes in attributes.cpp, datasets in datasets.cpp.
class File {
 public:
  /// A new file; what was there is replaced. Files are made without time stamps: equal content, equal bytes.
  static File create(const std::filesystem::path& path);
  static File open(const std::filesystem::path& path);
  static File open_for_change(const std::filesystem::path& path);
  ~File();
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;

  const std::filesystem::path& path() const { return path_; }
  /// HDF5's identifier (hid_t), for this folder.
  std::int64_t id() const { return id_; }
  /// Writes everything out and closes. The destructor does the same but cannot report failure.
  void close();

  bool exists(const std::string& object) const;
  bool is_dataset(const std::string& object) const;
  /// The names directly inside a group, in byte order; soft and external links are left out.
  std::vector<std::string> children(const std::string& group) const;
  /// Creates a group and the groups above it; one that exists stays as it is.
  void create_group(const std::string& group);
  /// Called with the source's name and the elements of each dataset before they are written.
  using CopiedElements = std::function<void(const std::string& object, std::span<const std::byte> elements)>;
  /// Copies a group or dataset with its attributes and all it holds; datasets become contiguous.
  void copy_from(const File& source, const std::string& object, const std::string& destination,
                 const CopiedElements& copied = {});

  // Attributes. Setting replaces. Asking for one that is missing or of another kind throws.
  void set_text(const std::string& object, const std::string& name, std::string_view value);
  void set_integer(const std::string& object, const std::string& name, std::int64_t value);
  void set_number(const std::string& object, const std::string& name, double value);
  void set_integers(const std::string& object, const std::string& name, std::span<const std::int64_t> values);
  bool has_attribute(const std::string& object, const std::string& name) const;
  std::vector<std::string> attributes(const std::string& object) const;
  bool is_text(const std::string& object, const std::string& name) const;
  std::string text(const std::string& object, const std::string& name) const;
  /// Also of a boolean.
  std::int64_t integer(const std::string& object, const std::string& name) const;
  /// Also of an integer.
  double number(const std::string& object, const std::string& name) const;
  std::vector<std::int64_t> integers(const std::string& object, const std::string& name) const;

  // Datasets, row-major, little-endian, contiguous; those of 4 KiB and more begin at a multiple of 64 bytes.
  void write(const std::string& object, Type type, std::span<const std::uint64_t> shape,
             std::span<const std::byte> elements);

  /// Throws also when the elements do not lie inside the file, so that a damaged size is never allocated.
  Dataset dataset(const std::string& object) const;
  /// The elements as stored, without HDF5's conversion (its half to float runs at 27 MB/s).
  /// `out` has elements * element_bytes bytes.
  void read_bytes(const std::string& object, std::span<std::byte> out) const;
  std::vector<std::byte> read_bytes(const std::string& object) const;
  /// All elements as T: float, double (from floating-point datasets), std::uint8_t, std::int32_t,
  /// std::int64_t (from integers and booleans). A T that may not hold every stored value throws.
  template <typename T>
  std::vector<T> read(const std::string& object) const;

 private:
  void copy_attribute(const File& source, const std::string& object, const std::string& name,
                      const std::string& destination);
  File(std::int64_t id, std::filesystem::path path) : id_(id), path_(std::move(path)) {}

  /// The object that was opened last, which stays open: an object's attributes are asked for one after the other, and
  /// each would be looked for from the root again.
  struct LastOpened {
    std::string object;
    std::int64_t id = -1;
  };
  void forget_last() const;
  friend Handle open_object(const File& file, const std::string& object);

  std::int64_t id_ = -1;
  std::filesystem::path path_;
  mutable LastOpened last_;
};

/// Throws TraceError "<file>: <object>: <problem>".
[[noreturn]] void fail(const File& file, const std::string& object, std::string_view problem);

}  // namespace evictlab::trace::hdf5
