#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

// GGUF files for tests, written byte by byte.

namespace evictlab::testing {

/// The little-endian bytes of a number.
template <typename Number>
std::string number_bytes(Number number) {
  std::string bytes(sizeof(Number), '\0');
  std::memcpy(bytes.data(), &number, sizeof(Number));
  return bytes;
}

inline std::string gguf_string(std::string_view text) {
  return number_bytes<std::uint64_t>(text.size()) + std::string(text);
}

/// The numbers of the value types.
enum class GgufTag : std::uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray
};

class GgufBuilder {
 public:
  /// A pair whose value is a type's number and any bytes.
  GgufBuilder& raw(std::string_view key, std::uint32_t type, std::string_view value) {
    pairs_ += gguf_string(key) + number_bytes(type) + std::string(value);
    ++pair_count_;
    return *this;
  }
  GgufBuilder& text(std::string_view key, std::string_view value) {
    return add(key, GgufTag::kString, gguf_string(value));
  }
  GgufBuilder& u16(std::string_view key, std::uint16_t value) {
    return add(key, GgufTag::kUint16, number_bytes(value));
  }
  GgufBuilder& u32(std::string_view key, std::uint32_t value) {
    return add(key, GgufTag::kUint32, number_bytes(value));
  }
  GgufBuilder& i32(std::string_view key, std::int32_t value) { return add(key, GgufTag::kInt32, number_bytes(value)); }
  GgufBuilder& f32(std::string_view key, float value) { return add(key, GgufTag::kFloat32, number_bytes(value)); }
  GgufBuilder& flag(std::string_view key, bool value) {
    return add(key, GgufTag::kBool, std::string(1, value ? '\1' : '\0'));
  }
  GgufBuilder& texts(std::string_view key, const std::vector<std::string>& values) {
    std::string elements;
    for (const std::string& value : values) elements += gguf_string(value);
    return array(key, GgufTag::kString, values.size(), elements);
  }
  GgufBuilder& integers(std::string_view key, const std::vector<std::int32_t>& values) {
    return array(key, GgufTag::kInt32, values.size(), bytes_of(values));
  }
  GgufBuilder& floats(std::string_view key, const std::vector<float>& values) {
    return array(key, GgufTag::kFloat32, values.size(), bytes_of(values));
  }
  GgufBuilder& array(std::string_view key, GgufTag element, std::uint64_t count, std::string_view elements) {
    return add(key, GgufTag::kArray, number_bytes(element) + number_bytes(count) + std::string(elements));
  }

  /// A tensor whose bytes lie at the next multiple of `alignment`; sizes innermost first.
  GgufBuilder& tensor(std::string_view name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                      std::string_view bytes) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    const std::uint64_t offset = data_.size();
    data_ += bytes;
    return tensor_at(name, sizes, type, offset);
  }
  /// The entry of a tensor without its bytes.
  GgufBuilder& tensor_at(std::string_view name, const std::vector<std::uint64_t>& sizes, std::uint32_t type,
                         std::uint64_t offset) {
    tensors_ += gguf_string(name) + number_bytes(static_cast<std::uint32_t>(sizes.size())) + bytes_of(sizes) +
                number_bytes(type) + number_bytes(offset);
    ++tensor_count_;
    return *this;
  }
  GgufBuilder& data(std::string_view bytes) {
    data_ += bytes;
    return *this;
  }

  std::string bytes(std::uint32_t version = 3) const {
    std::string header = header_bytes(version, tensor_count_, pair_count_) + pairs_ + tensors_;
    header.resize((header.size() + alignment - 1) / alignment * alignment);
    return header + data_;
  }

  static std::string header_bytes(std::uint32_t version, std::uint64_t tensors, std::uint64_t pairs) {
    return "GGUF" + number_bytes(version) + number_bytes(tensors) + number_bytes(pairs);
  }

  std::size_t alignment = 32;

 private:
  GgufBuilder& add(std::string_view key, GgufTag type, std::string_view value) {
    return raw(key, static_cast<std::uint32_t>(type), value);
  }
  template <typename Number>
  static std::string bytes_of(const std::vector<Number>& numbers) {
    std::string bytes;
    for (const Number number : numbers) bytes += number_bytes(number);
    return bytes;
  }

  std::string pairs_;
  std::string tensors_;
  std::string data_;
  std::uint64_t pair_count_ = 0;
  std::uint64_t tensor_count_ = 0;
};

}  // namespace evictlab::testing
