#pragma once

#include <array>
#include <cstdint>

#include "core/half.hpp"

// The blocks of quantised tensors, as they lie in memory. x[e] is element e of a block; q[e] is its small integer.
//
// Elements of the blocks of 32 are spread over nibbles alike: byte b holds q[b] in its low nibble and q[b + 16] in its
// high one. The K blocks have 256 elements in sub-blocks of 16 or 32, whose scales are quantised themselves.

namespace evictlab::core {

using Nibbles16 = std::array<std::uint8_t, 16>;

/// x = scale (q - 8)
struct BlockQ4_0 {
  Half scale;
  Nibbles16 quants;
};

/// x = scale q + minimum
struct BlockQ4_1 {
  Half scale;
  Half minimum;
  Nibbles16 quants;
};

/// x = scale (q - 16); bit e of `high` (32 bits, little-endian) is bit 4 of q[e].
struct BlockQ5_0 {
  Half scale;
  std::array<std::uint8_t, 4> high;
  Nibbles16 quants;
};

/// x = scale q + minimum, bits as in BlockQ5_0.
struct BlockQ5_1 {
  Half scale;
  Half minimum;
  std::array<std::uint8_t, 4> high;
  Nibbles16 quants;
};

/// x = scale q
struct BlockQ8_0 {
  Half scale;
  std::array<std::int8_t, 32> quants;
};

/// x = scale (scales[e / 16] & 15) q - minimum (scales[e / 16] >> 4); q[e] is bits 2s and 2s + 1 of
/// quants[e / 128 * 32 + e % 32] with s = e % 128 / 32.
struct BlockQ2_K {
  std::array<std::uint8_t, 16> scales;
  std::array<std::uint8_t, 64> quants;
  Half scale;
  Half minimum;
};

/// x = scale (s[e / 16] - 32) (q - (high bit is clear ? 4 : 0)); q as in BlockQ2_K, the high bit of e is bit e / 32 of
/// high[e % 32]. Bits 0-3 of s[i] are nibble i / 8 of scales[i % 8], bits 4 and 5 are bits 2 (i / 4) and up of
/// scales[8 + i % 4].
struct BlockQ3_K {
  std::array<std::uint8_t, 32> high;
  std::array<std::uint8_t, 64> quants;
  std::array<std::uint8_t, 12> scales;
  Half scale;
};

/// x = scale s[e / 32] q - minimum m[e / 32]; q[e] is nibble e % 64 / 32 of quants[e / 64 * 32 + e % 32].
/// For i < 4, s[i] = scales[i] & 63 and m[i] = scales[i + 4] & 63. For the others, bits 0-3 are the low (s) and high
/// (m) nibble of scales[i + 4], bits 4 and 5 the upper two bits of scales[i - 4] (s) and scales[i] (m).
struct BlockQ4_K {
  Half scale;
  Half minimum;
  std::array<std::uint8_t, 12> scales;
  std::array<std::uint8_t, 128> quants;
};

/// As BlockQ4_K; bit e / 32 of high[e % 32] is bit 4 of q[e].
struct BlockQ5_K {
  Half scale;
  Half minimum;
  std::array<std::uint8_t, 12> scales;
  std::array<std::uint8_t, 32> high;
  std::array<std::uint8_t, 128> quants;
};

/// x = scale scales[e / 16] (q - 32); bits 0-3 of q[e] are nibble e % 128 / 64 of low[e / 128 * 64 + e % 64], bits 4
/// and 5 are bits 2s and 2s + 1 of high[e / 128 * 32 + e % 32] with s = e % 128 / 32.
struct BlockQ6_K {
  std::array<std::uint8_t, 128> low;
  std::array<std::uint8_t, 64> high;
  std::array<std::int8_t, 16> scales;
  Half scale;
};

/// The values of 4-bit codes that are not evenly spaced.
inline constexpr std::array<std::int8_t, 16> kIq4Values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                           1,    13,   25,  38,  53,  69,  89,  113};

/// x = scale kIq4Values[q]
struct BlockIQ4_NL {
  Half scale;
  Nibbles16 quants;
};

/// x = scale (s[e / 32] - 32) kIq4Values[q]; q[e] is nibble e % 32 / 16 of quants[e / 32 * 16 + e % 16]. Bits 0-3 of
/// s[i] are nibble i % 2 of scales_low[i / 2], bits 4 and 5 are bits 2i and 2i + 1 of scales_high.
struct BlockIQ4_XS {
  Half scale;
  std::uint16_t scales_high;
  std::array<std::uint8_t, 4> scales_low;
  std::array<std::uint8_t, 128> quants;
};

/// Twice the values of E2M1 numbers (OCP Microscaling Formats 1.0, section 5.3.3).
inline constexpr std::array<std::int8_t, 16> kE2m1Doubled = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// x = 2^(exponent - 127) / 2 kE2m1Doubled[q]
struct BlockMxfp4 {
  std::uint8_t exponent;
  Nibbles16 quants;
};

static_assert(sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20 && sizeof(BlockQ5_0) == 22 && sizeof(BlockQ5_1) == 24);
static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ2_K) == 84 && sizeof(BlockQ3_K) == 110 &&
              sizeof(BlockQ4_K) == 144);
static_assert(sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210 && sizeof(BlockIQ4_NL) == 18);
static_assert(sizeof(BlockIQ4_XS) == 136 && sizeof(BlockMxfp4) == 17);

}  // namespace evictlab::core
