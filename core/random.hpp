#pragma once

#include <cstdint>
#include <string_view>

// Random numbers that are the same on every machine and with every standard library.

namespace evictlab::core {

/// SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195). Its k-th output (k = 1, 2, ...) is
/// mix(seed + k * kIncrement): seeds of any pattern do, and a stream can be entered anywhere.
class SplitMix64 {
 public:
  static constexpr std::uint64_t kIncrement = 0x9e3779b97f4a7c15U;  // 2^64 / the golden ratio, odd

  explicit constexpr SplitMix64(std::uint64_t seed) : state_(seed) {}

  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }
  constexpr std::uint64_t next() {
    state_ += kIncrement;
    return mix(state_);
  }
  /// Leaves out as many outputs.
  constexpr void skip(std::uint64_t outputs) { state_ += outputs * kIncrement; }
  /// In [0, 1): the upper 53 bits of one output, as a fraction.
  constexpr double uniform() { return static_cast<double>(next() >> 11U) * 0x1p-53; }

 private:
  std::uint64_t state_;
};

/// A number that depends on the text's bytes alone, to seed a stream by name: FNV-1a with 64 bits (Fowler,
/// Noll & Vo).
constexpr std::uint64_t text_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace evictlab::core
