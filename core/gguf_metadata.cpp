#include "core/gguf_metadata.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "core/message.hpp"
#include "core/text.hpp"

namespace evictlab::core {
namespace {

constexpr int kDeepestArray = 8;

constexpr std::string_view kTypeNames[] = {"uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
                                           "bool",  "string", "array",  "uint64", "int64",  "float64"};

std::string_view type_name(GgufType type) { return kTypeNames[static_cast<std::size_t>(type)]; }

/// Bytes of a number; 0 of a string or an array, whose bytes say it.
std::size_t fixed_bytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      break;
  }
  return 0;
}

/// Little-endian, as this machine is.
template <typename Number>
Number load(std::span<const std::byte> bytes) {
  Number number{};
  std::memcpy(&number, bytes.data(), sizeof(Number));
  return number;
}

/// A key in a message. A damaged file's can be as long as the file.
std::string shown(std::string_view key) {
  constexpr std::size_t kLongest = 100;
  return one_line(key.substr(0, kLongest)) + (key.size() > kLongest ? "..." : "");
}

GgufType read_type(GgufCursor& cursor, std::string_view key) {
  const std::uint32_t number = cursor.u32("a value's type");
  if (number >= std::size(kTypeNames)) {
    throw InputError("{}: {}: a value of type {}, which GGUF does not have", cursor.name(), shown(key), number);
  }
  return static_cast<GgufType>(number);
}

/// Walks over `count` elements.
void skip_elements(GgufCursor& cursor, std::string_view key, GgufType type, std::uint64_t count, int depth) {
  constexpr std::string_view kWhat = "an array";
  if (const std::size_t bytes = fixed_bytes(type); bytes > 0) {
    if (count > cursor.remaining() / bytes) {
      throw InputError("{}: {}: truncated: an array of {} {} values needs more than the {} bytes left", cursor.name(),
                       shown(key), count, type_name(type), cursor.remaining());
    }
    cursor.take(count * bytes, kWhat);
    return;
  }
  // Each element takes bytes of its own, so that the count alone cannot make this long.
  for (std::uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::kString) {
      cursor.string(kWhat);
      continue;
    }
    if (depth == kDeepestArray) {
      throw InputError("{}: {}: arrays nested more than {} deep", cursor.name(), shown(key), kDeepestArray);
    }
    const GgufType inner = read_type(cursor, key);
    const std::uint64_t inner_count = cursor.u64(kWhat);
    skip_elements(cursor, key, inner, inner_count, depth + 1);
  }
}

}  // namespace

std::span<const std::byte> GgufCursor::take(std::uint64_t count, std::string_view what) {
  if (count > remaining()) {
    throw InputError("{}: truncated: {} of {} bytes at byte {} of a file of {}", name_, what, count, at_,
                     bytes_.size());
  }
  const auto taken = bytes_.subspan(at_, count);
  at_ += count;
  return taken;
}

std::uint32_t GgufCursor::u32(std::string_view what) { return load<std::uint32_t>(take(sizeof(std::uint32_t), what)); }
std::uint64_t GgufCursor::u64(std::string_view what) { return load<std::uint64_t>(take(sizeof(std::uint64_t), what)); }

std::string_view GgufCursor::string(std::string_view what) {
  const std::span<const std::byte> characters = take(u64(what), what);
  return {reinterpret_cast<const char*>(characters.data()), characters.size()};
}

GgufValue::GgufValue(GgufCursor& cursor, std::string_view key, std::shared_ptr<const std::string> file)
    : file_(std::move(file)), key_(key), type_(read_type(cursor, key)) {
  if (type_ == GgufType::kString) {
    const std::string_view text = cursor.string("a value");
    bytes_ = std::as_bytes(std::span(text));
  } else if (type_ == GgufType::kArray) {
    element_type_ = read_type(cursor, key);
    const std::uint64_t count = cursor.u64("a value");
    const std::size_t begin = cursor.position();
    GgufCursor ahead = cursor;
    skip_elements(ahead, key, element_type_, count, 1);
    bytes_ = cursor.take(ahead.position() - begin, "a value");
    count_ = count;
  } else {
    bytes_ = cursor.take(fixed_bytes(type_), "a value");
  }
}

GgufValue::GgufValue(const GgufValue& array, std::span<const std::byte> element)
    : file_(array.file_), key_(array.key_), type_(array.element_type_), bytes_(element) {}

void GgufValue::refuse(const std::string& message) const {
  throw InputError("{}: {}: {}", *file_, shown(key_), message);
}

void GgufValue::refuse_type(std::string_view expected) const {
  if (is_array()) fail("expected {}, got an array of {}", expected, type_name(element_type_));
  fail("expected {}, got a value of type {}", expected, type_name(type_));
}

std::string_view GgufValue::string() const {
  if (type_ != GgufType::kString) refuse_type("a string");
  return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
}

bool GgufValue::boolean() const {
  if (type_ != GgufType::kBool) refuse_type("a bool");
  return load<std::uint8_t>(bytes_) != 0;
}

std::int64_t GgufValue::integer(std::int64_t least, std::int64_t most) const {
  const auto within = [&](auto value) {
    if (!std::in_range<std::int64_t>(value) || std::cmp_less(value, least) || std::cmp_greater(value, most)) {
      fail("expected a whole number from {} to {}, got {}", least, most, value);
    }
    return static_cast<std::int64_t>(value);
  };
  switch (type_) {
    case GgufType::kUint8:
      return within(static_cast<std::int32_t>(load<std::uint8_t>(bytes_)));
    case GgufType::kInt8:
      return within(static_cast<std::int32_t>(load<std::int8_t>(bytes_)));
    case GgufType::kUint16:
      return within(load<std::uint16_t>(bytes_));
    case GgufType::kInt16:
      return within(load<std::int16_t>(bytes_));
    case GgufType::kUint32:
      return within(load<std::uint32_t>(bytes_));
    case GgufType::kInt32:
      return within(load<std::int32_t>(bytes_));
    case GgufType::kUint64:
      return within(load<std::uint64_t>(bytes_));
    case GgufType::kInt64:
      return within(load<std::int64_t>(bytes_));
    default:
      refuse_type("a whole number");
  }
}

double GgufValue::number() const {
  double value = 0.0;
  if (type_ == GgufType::kFloat32) {
    const auto stored = load<float>(bytes_);
    value = std::isfinite(stored) ? parse_number(fmt::format("{}", stored)).value() : static_cast<double>(stored);
  } else if (type_ == GgufType::kFloat64) {
    value = load<double>(bytes_);
  } else if (fixed_bytes(type_) > 0 && type_ != GgufType::kBool) {
    value = static_cast<double>(
        integer(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()));
  } else {
    refuse_type("a number");
  }
  if (!std::isfinite(value)) fail("expected a finite number, got {}", value);
  return value;
}

double GgufValue::positive() const {
  const double value = number();
  if (value <= 0.0) fail("expected a number greater than 0, got {}", value);
  return value;
}

template <typename Read>
void GgufValue::for_elements(const Read& read) const {
  const std::size_t bytes = fixed_bytes(element_type_);
  GgufCursor cursor(bytes_, *file_);
  for (std::size_t i = 0; i < count_; ++i) {
    if (element_type_ == GgufType::kString) {
      const std::string_view text = cursor.string("an element");
      read(GgufValue(*this, std::as_bytes(std::span(text))));
    } else {
      read(GgufValue(*this, cursor.take(bytes, "an element")));
    }
  }
}

std::vector<std::string_view> GgufValue::strings() const {
  if (!is_array() || element_type_ != GgufType::kString) refuse_type("an array of strings");
  std::vector<std::string_view> values;
  values.reserve(count_);
  for_elements([&](const GgufValue& element) { values.push_back(element.string()); });
  return values;
}

std::vector<std::int64_t> GgufValue::integers(std::int64_t least, std::int64_t most) const {
  if (!is_array() || fixed_bytes(element_type_) == 0) refuse_type("an array of whole numbers");
  std::vector<std::int64_t> values;
  values.reserve(count_);
  for_elements([&](const GgufValue& element) { values.push_back(element.integer(least, most)); });
  return values;
}

std::vector<float> GgufValue::numbers() const {
  if (!is_array() || fixed_bytes(element_type_) == 0) refuse_type("an array of numbers");
  std::vector<float> values;
  values.reserve(count_);
  for_elements([&](const GgufValue& element) { values.push_back(static_cast<float>(element.number())); });
  return values;
}

std::vector<bool> GgufValue::booleans() const {
  if (!is_array() || element_type_ != GgufType::kBool) refuse_type("an array of bools");
  std::vector<bool> values;
  values.reserve(count_);
  for_elements([&](const GgufValue& element) { values.push_back(element.boolean()); });
  return values;
}

GgufMetadata::GgufMetadata(GgufCursor& cursor, std::uint64_t count)
    : file_(std::make_shared<const std::string>(cursor.name())) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = cursor.string("a key");
    if (!values_.emplace(key, GgufValue(cursor, key, file_)).second) fail("the key {} occurs twice", quote(key));
  }
}

const GgufValue* GgufMetadata::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufValue& GgufMetadata::at(std::string_view key) const {
  if (const GgufValue* value = find(key)) return *value;
  fail("the metadata has no '{}'", key);
}

std::optional<std::string_view> GgufMetadata::find_string(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->string());
}

std::optional<std::int64_t> GgufMetadata::find_integer(std::string_view key, std::int64_t least,
                                                       std::int64_t most) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->integer(least, most));
}

std::optional<double> GgufMetadata::find_positive(std::string_view key) const {
  const GgufValue* value = find(key);
  return value == nullptr ? std::nullopt : std::optional(value->positive());
}

bool GgufMetadata::flag(std::string_view key, bool fallback) const {
  const GgufValue* value = find(key);
  return value == nullptr ? fallback : value->boolean();
}

}  // namespace evictlab::core
