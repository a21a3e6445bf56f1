#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace evictlab::core {

/// Computes the hash of bytes that come in pieces: "xxh3-128:<32 hexadecimal digits>", XXH3 with 128 bits of them all,
/// as Python's xxhash.xxh3_128_hexdigest prints it.
class ContentHash {
 public:
  ContentHash();
  ~ContentHash();
  void add(std::span<const std::byte> bytes);
  /// Of what was added so far.
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string content_hash(std::span<const std::byte> bytes);
/// Of a text's bytes.
inline std::string content_hash(std::string_view text) { return content_hash(std::as_bytes(std::span(text))); }

}  // namespace evictlab::core
