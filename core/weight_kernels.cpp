#include "core/weight_kernels.hpp"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "core/cpu.hpp"
#include "core/half.hpp"
#include "core/quantized_blocks.hpp"

namespace evictlab::core {
namespace {
namespace weights {

// Rows that are multiplied together: enough additions that do not wait for one another, few enough for the registers.
constexpr std::size_t kRowsAtOnce = 2;

// Integers of a byte, several to a word.
constexpr std::uint64_t kEach = 0x0101010101010101U;

/// What the sixteen values of four bits stand for.
struct NibbleValues {
  alignas(64) float floats[16];
  std::array<std::int8_t, 16> codes;

  constexpr explicit NibbleValues(const std::array<std::int8_t, 16>& values) : floats(), codes(values) {
    for (std::size_t i = 0; i < 16; ++i) floats[i] = values[i];
  }
};
constexpr NibbleValues kNibbles({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
constexpr NibbleValues kNibblesLessEight({-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7});
constexpr NibbleValues kIq4Nibbles(kIq4Values);
constexpr NibbleValues kE2m1Nibbles(kE2m1Doubled);

std::uint32_t word_at(const std::byte* from) {
  std::uint32_t word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

std::uint64_t two_words(std::uint64_t first, std::uint64_t second) { return first | second << 32U; }

/// The sixteen 6-bit numbers of Q3_K's twelve bytes.
std::array<std::uint64_t, 2> six_bits(const std::byte* packed) {
  const std::uint64_t low = two_words(word_at(packed), word_at(packed + 4));
  const std::uint64_t high = word_at(packed + 8);
  const auto high_bits = [high](unsigned i) {  // of four numbers each, bits 4 and 5
    return (two_words(high >> (4U * i), high >> (4U * i + 2U)) & 3U * kEach) << 4U;
  };
  return {(low & 15U * kEach) | high_bits(0), (low >> 4U & 15U * kEach) | high_bits(1)};
}

/// The eight scales, then the eight minima of Q4_K's and Q5_K's twelve bytes.
std::array<std::uint64_t, 2> scales_and_minima(const std::byte* packed) {
  const std::uint32_t scales = word_at(packed);
  const std::uint32_t minima = word_at(packed + 4);
  const std::uint32_t others = word_at(packed + 8);
  constexpr auto kSix = static_cast<std::uint32_t>(63U * kEach);
  constexpr auto kFour = static_cast<std::uint32_t>(15U * kEach);
  constexpr auto kTwo = static_cast<std::uint32_t>(3U * kEach);
  return {two_words(scales & kSix, (others & kFour) | (scales >> 6U & kTwo) << 4U),
          two_words(minima & kSix, (others >> 4U & kFour) | (minima >> 6U & kTwo) << 4U)};
}

/// The eight 6-bit numbers of a block of IQ4_XS.
std::array<std::uint64_t, 2> six_bits_of_pairs(const std::byte* block) {
  const std::uint32_t low = word_at(block + offsetof(BlockIQ4_XS, scales_low));
  std::uint16_t high;
  std::memcpy(&high, block + offsetof(BlockIQ4_XS, scales_high), sizeof(high));
  std::uint64_t numbers = 0;
  for (unsigned i = 0; i < 8; ++i) {
    const std::uint64_t number = (low >> (4 * i) & 15U) | (static_cast<unsigned>(high) >> (2 * i) & 3U) << 4U;
    numbers |= number << (8 * i);
  }
  return {numbers, 0};
}

/// 2^(exponent - 128), half of MXFP4's scale: the two smallest exponents give subnormal floats.
float half_power_of_two(std::uint32_t exponent) {
  return std::bit_cast<float>(exponent < 2 ? 0x00200000U << exponent : (exponent - 1) << 23U);
}

namespace portable {
#define TARGET
#define UNROLL
struct Floats {
  float of[16];
};
struct Codes {
  std::int8_t of[16];
};
template <typename Values, typename Value>
inline Values each(Value value) {
  Values values;
  for (unsigned i = 0; i < 16; ++i)
    values.of[i] = static_cast<std::remove_reference_t<decltype(values.of[i])>>(value(i));
  return values;
}
inline Floats operator+(const Floats& a, const Floats& b) {
  return each<Floats>([&](unsigned i) { return a.of[i] + b.of[i]; });
}
inline Floats operator-(const Floats& a, const Floats& b) {
  return each<Floats>([&](unsigned i) { return a.of[i] - b.of[i]; });
}
inline Floats operator*(const Floats& a, const Floats& b) {
  return each<Floats>([&](unsigned i) { return a.of[i] * b.of[i]; });
}
inline Floats all(float value) {
  return each<Floats>([&](unsigned) { return value; });
}
inline Floats all(Half value) { return all(to_float(value)); }
template <typename Number>
inline Floats load(const std::byte* from) {
  Number stored[16];
  std::memcpy(stored, from, sizeof(stored));
  return each<Floats>([&](unsigned i) {
    if constexpr (std::is_same_v<Number, float>) {
      return stored[i];
    } else {
      return to_float(stored[i]);
    }
  });
}
inline void store(float* to, const Floats& values) { std::copy_n(values.of, 16, to); }
inline float sum_of(const Floats& a, const Floats& b) {
  Floats lanes = a + b;
  for (unsigned half = 8; half > 0; half /= 2) {
    for (unsigned lane = 0; lane < half; ++lane) lanes.of[lane] += lanes.of[lane + half];
  }
  return lanes.of[0];
}
inline Codes load_codes(const std::byte* from) {
  Codes codes;
  std::memcpy(codes.of, from, sizeof(codes.of));
  return codes;
}
inline Codes bits(const Codes& codes, int first, int count) {
  return each<Codes>([&](unsigned i) { return static_cast<std::uint8_t>(codes.of[i]) >> first & ((1 << count) - 1); });
}
inline Codes joined(const Codes& a, const Codes& b) {
  return each<Codes>([&](unsigned i) { return a.of[i] | b.of[i]; });
}
inline Codes raised(const Codes& codes, int n) {
  return each<Codes>([&](unsigned i) { return codes.of[i] << n; });
}
inline Codes lowered(const Codes& codes, int n) {
  return each<Codes>([&](unsigned i) { return codes.of[i] - n; });
}
inline Codes codes_of(std::uint16_t bits, int value) {
  return each<Codes>([&](unsigned i) { return (bits >> i & 1) * value; });
}
inline Floats as_floats(const Codes& codes) {
  return each<Floats>([&](unsigned i) { return codes.of[i]; });
}
inline Floats nibble_numbers(const NibbleValues& values, const Codes& codes, int first) {
  return each<Floats>([&](unsigned i) { return values.floats[static_cast<std::uint8_t>(codes.of[i]) >> first & 15]; });
}
#include "core/weight_kernels.def"
#undef TARGET
#undef UNROLL
}  // namespace portable

// Sixteen bytes, in both sets of x86.
namespace bytes {
#define TARGET __attribute__((target("avx2,fma,f16c")))
using Codes = __m128i;
TARGET inline Codes load_codes(const std::byte* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}
TARGET inline Codes bits(Codes codes, int first, int count) {
  // Bits of the next byte that are shifted in are cut off.
  return _mm_and_si128(_mm_srli_epi16(codes, first), _mm_set1_epi8(static_cast<char>((1 << count) - 1)));
}
TARGET inline Codes joined(Codes a, Codes b) { return _mm_or_si128(a, b); }
TARGET inline Codes raised(Codes codes, int n) { return _mm_slli_epi16(codes, n); }
TARGET inline Codes lowered(Codes codes, int n) { return _mm_sub_epi8(codes, _mm_set1_epi8(static_cast<char>(n))); }
TARGET inline Codes looked_up(const std::array<std::int8_t, 16>& table, Codes codes) {
  return _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table.data())), codes);
}
TARGET inline Codes codes_of(std::uint16_t bits, int value) {
  // Byte i of 16 holds all bits of its half; one of them is looked at.
  const __m128i halves = _mm_shuffle_epi8(_mm_cvtsi32_si128(bits), _mm_set_epi64x(kEach, 0));
  const __m128i own = _mm_set1_epi64x(static_cast<long long>(0x8040201008040201U));
  return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(halves, own), own), _mm_set1_epi8(static_cast<char>(value)));
}
TARGET inline float sum_of(__m256 lanes) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
#undef TARGET
}  // namespace bytes

// Loops over the parts of a block and over rows: unrolled, every place and shift in them is a constant.
#define EVICTLAB_UNROLL _Pragma("GCC unroll 16")

namespace avx2 {
#define TARGET __attribute__((target("avx2,fma,f16c")))
#define UNROLL EVICTLAB_UNROLL
using bytes::bits;
using bytes::Codes;
using bytes::codes_of;
using bytes::joined;
using bytes::load_codes;
using bytes::looked_up;
using bytes::lowered;
using bytes::raised;
struct Floats {
  __m256 low;
  __m256 high;
};
TARGET inline Floats operator+(Floats a, Floats b) { return {a.low + b.low, a.high + b.high}; }
TARGET inline Floats operator-(Floats a, Floats b) { return {a.low - b.low, a.high - b.high}; }
TARGET inline Floats operator*(Floats a, Floats b) { return {a.low * b.low, a.high * b.high}; }
TARGET inline Floats all(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
TARGET inline Floats all(Half value) {
  const __m256 values = _mm256_cvtph_ps(_mm_set1_epi16(static_cast<short>(value.bits)));
  return {values, values};
}
template <typename Number>
TARGET inline __m256 load_eight(const std::byte* from) {
  if constexpr (std::is_same_v<Number, float>) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
  } else {
    const __m128i stored = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    if constexpr (std::is_same_v<Number, Half>) return _mm256_cvtph_ps(stored);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(stored), 16));
  }
}
template <typename Number>
TARGET inline Floats load(const std::byte* from) {
  return {load_eight<Number>(from), load_eight<Number>(from + 8 * sizeof(Number))};
}
TARGET inline void store(float* to, Floats values) {
  _mm256_storeu_ps(to, values.low);
  _mm256_storeu_ps(to + 8, values.high);
}
TARGET inline float sum_of(Floats a, Floats b) {
  const Floats lanes = a + b;
  return bytes::sum_of(lanes.low + lanes.high);
}
TARGET inline Floats as_floats(Codes codes) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(codes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(codes, codes)))};
}
TARGET inline Floats nibble_numbers(const NibbleValues& values, Codes codes, int first) {
  return as_floats(looked_up(values.codes, bits(codes, first, 4)));
}
#include "core/weight_kernels.def"
#undef TARGET
#undef UNROLL
}  // namespace avx2

namespace avx512 {
#define TARGET __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl")))
#define UNROLL EVICTLAB_UNROLL
using bytes::bits;
using bytes::Codes;
using bytes::codes_of;
using bytes::joined;
using bytes::load_codes;
using bytes::lowered;
using bytes::raised;
using Floats = __m512;
// A mask that takes every lane: g++ 12 sees uninitialised values in the intrinsics without one (GCC bug 105593).
constexpr __mmask16 kAll = 0xFFFF;
TARGET inline Floats all(float value) { return _mm512_set1_ps(value); }
TARGET inline Floats all(Half value) {
  return _mm512_maskz_cvtph_ps(kAll, _mm256_set1_epi16(static_cast<short>(value.bits)));
}
template <typename Number>
TARGET inline Floats load(const std::byte* from) {
  if constexpr (std::is_same_v<Number, float>) {
    return _mm512_loadu_ps(from);
  } else {
    const __m256i stored = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    if constexpr (std::is_same_v<Number, Half>) return _mm512_maskz_cvtph_ps(kAll, stored);
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll, _mm512_maskz_cvtepu16_epi32(kAll, stored), 16));
  }
}
TARGET inline void store(float* to, Floats values) { _mm512_storeu_ps(to, values); }
TARGET inline float sum_of(Floats a, Floats b) {
  const __m512d lanes = _mm512_castps_pd(a + b);
  return bytes::sum_of(_mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(0xFF, lanes, 0)) +
                       _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(0xFF, lanes, 1)));
}
TARGET inline Floats as_floats(Codes codes) {
  return _mm512_maskz_cvtepi32_ps(kAll, _mm512_maskz_cvtepi8_epi32(kAll, codes));
}
TARGET inline Floats nibble_numbers(const NibbleValues& values, Codes codes, int first) {
  // The look-up heeds the lowest four bits of each index alone.
  const __m512i wide = _mm512_maskz_cvtepu8_epi32(kAll, codes);
  const __m512i indices = first == 0 ? wide : _mm512_maskz_srli_epi32(kAll, wide, static_cast<unsigned>(first));
  return _mm512_maskz_permutexvar_ps(kAll, indices, _mm512_load_ps(values.floats));
}
#include "core/weight_kernels.def"
#undef TARGET
#undef UNROLL
}  // namespace avx512

}  // namespace weights
}  // namespace

std::span<const WeightKernels> weight_kernels() {
  static const bool kAvx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && has_f16c();
  static const WeightKernels kAll[] = {
      {"avx512", kAvx2 && has_avx512(), weights::avx512::kOfTypes},
      {"avx2", kAvx2, weights::avx2::kOfTypes},
      {"portable", true, weights::portable::kOfTypes},
  };
  return kAll;
}

}  // namespace evictlab::core

#undef EVICTLAB_UNROLL
