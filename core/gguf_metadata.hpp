#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"

namespace evictlab::core {

/// Reads little-endian numbers and strings one after the other and refuses to read beyond the end: "<name>: truncated:
/// ...".
class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

  std::size_t position() const { return at_; }
  std::size_t remaining() const { return bytes_.size() - at_; }
  const std::string& name() const { return name_; }

  /// The next `count` bytes. `what` they are, for the message.
  std::span<const std::byte> take(std::uint64_t count, std::string_view what);
  std::uint32_t u32(std::string_view what);
  std::uint64_t u64(std::string_view what);
  /// A length (64 bits), then so many bytes.
  std::string_view string(std::string_view what);

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  std::string name_;
};

/// The types of values, by their numbers in the format.
enum class GgufType : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64,
};

/// Gives typed access to one value of a GGUF file's metadata, which stays where it is in the mapped file, and says in
/// one line what is wrong with it: "model.gguf: llama.block_count: expected a whole number from 1 to 10000, got -3".
class GgufValue {
 public:
  /// Reads a value's type and walks over the value. Throws InputError: an unknown type, arrays nested more than 8 deep,
  /// a value that leaves the file.
  GgufValue(GgufCursor& cursor, std::string_view key, std::shared_ptr<const std::string> file);

  bool is_array() const { return type_ == GgufType::kArray; }
  /// How many elements an array has; 1 of anything else.
  std::size_t size() const { return is_array() ? count_ : 1; }

  std::string_view string() const;
  bool boolean() const;
  std::int64_t integer(std::int64_t least, std::int64_t most) const;
  /// Any kind of number, finite. A float32 gives the double of its shortest decimal: 0.00001 for the float nearest to
  /// it, as a config.json would say it.
  double number() const;
  double positive() const;
  // All elements of an array.
  std::vector<std::string_view> strings() const;
  std::vector<std::int64_t> integers(std::int64_t least, std::int64_t most) const;
  std::vector<float> numbers() const;
  std::vector<bool> booleans() const;

  /// Throws InputError: "<file>: <key>: <message>".
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    refuse(fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  GgufValue(const GgufValue& array, std::span<const std::byte> element);
  [[noreturn]] void refuse(const std::string& message) const;
  [[noreturn]] void refuse_type(std::string_view expected) const;
  template <typename Read>
  void for_elements(const Read& read) const;

  std::shared_ptr<const std::string> file_;
  std::string_view key_;
  GgufType type_ = GgufType::kUint8;
  GgufType element_type_ = GgufType::kUint8;  // of arrays
  std::size_t count_ = 0;
  std::span<const std::byte> bytes_;  // the number, the characters of a string, the elements of an array
};

/// The key-value pairs of a GGUF file. Valid as long as the file.
class GgufMetadata {
 public:
  /// Reads `count` pairs. Throws InputError, also for a key that occurs twice.
  GgufMetadata(GgufCursor& cursor, std::uint64_t count);

  bool contains(std::string_view key) const { return values_.contains(key); }
  /// The value of `key`; fails if it is missing.
  const GgufValue& at(std::string_view key) const;
  const GgufValue* find(std::string_view key) const;

  // The value of `key` by its type; nothing, or the fallback, where it is missing.
  std::optional<std::string_view> find_string(std::string_view key) const;
  std::optional<std::int64_t> find_integer(std::string_view key, std::int64_t least, std::int64_t most) const;
  std::optional<double> find_positive(std::string_view key) const;
  bool flag(std::string_view key, bool fallback) const;

  /// Throws InputError: "<file>: <message>".
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw InputError("{}: {}", *file_, fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  std::shared_ptr<const std::string> file_;
  std::map<std::string_view, GgufValue> values_;
};

}  // namespace evictlab::core
