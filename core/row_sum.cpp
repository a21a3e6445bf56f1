#include "core/row_sum.hpp"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "core/cpu.hpp"

namespace evictlab::core {
namespace {

// A number's bits without its sign grow with its magnitude, and with its sign every negative number's are larger than
// every positive one's: the largest bits say whether all numbers are finite, and whether any is negative.
template <typename Element>
using Bits = std::conditional_t<std::is_same_v<Element, Half>, std::uint16_t, std::uint32_t>;
template <typename Element>
constexpr Bits<Element> kInfiniteBits = std::is_same_v<Element, Half> ? 0x7C00U : 0x7F800000U;
template <typename Element>
constexpr Bits<Element> kMagnitudeBits = std::is_same_v<Element, Half> ? 0x7FFFU : 0x7FFFFFFFU;

std::uint16_t bits_of(Half value) { return value.bits; }
std::uint32_t bits_of(float value) { return std::bit_cast<std::uint32_t>(value); }
float value_of(std::uint16_t bits) { return to_float(Half{bits}); }
float value_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/// Sixteen partial sums: element i is added to sum i % 16, whatever the instruction set.
constexpr std::size_t kPartialSums = 16;

template <typename Element>
struct Partial {
  std::array<double, kPartialSums> sums = {};
  Bits<Element> largest = 0;
};

template <typename Element>
void add_portable(std::span<const Element> row, Partial<Element>& partial) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    const Bits<Element> bits = bits_of(row[i]);
    partial.sums[i % kPartialSums] += static_cast<double>(value_of(bits));
    partial.largest = std::max(partial.largest, bits);
  }
}

template <typename Element>
RowSum whole(const Partial<Element>& partial) {
  RowSum result{.regular = partial.largest < kInfiniteBits<Element>};
  if (result.regular) result.largest = value_of(partial.largest);
  for (const double sum : partial.sums) result.sum += sum;
  return result;
}

template <typename Element>
RowSum sum_portable(std::span<const Element> row) {
  Partial<Element> partial;
  add_portable(row, partial);
  return whole(partial);
}

template <typename Element>
bool finite_portable(std::span<const Element> values) {
  Bits<Element> largest = 0;
  for (const Element value : values) {
    largest = std::max(largest, static_cast<Bits<Element>>(bits_of(value) & kMagnitudeBits<Element>));
  }
  return largest < kInfiniteBits<Element>;
}

#define ROW_SUM_AVX2 __attribute__((target("avx2,f16c")))
#define ROW_SUM_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,f16c")))

ROW_SUM_AVX2 inline __m256i load256(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
ROW_SUM_AVX2 inline __m256 load_floats(const Half* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
ROW_SUM_AVX2 inline __m256 load_floats(const float* from) { return _mm256_loadu_ps(from); }

/// The larger bits, lane by lane, of those so far and of sixteen elements.
ROW_SUM_AVX2 inline __m256i larger_bits(__m256i largest, const Half* from) {
  return _mm256_max_epu16(largest, load256(from));
}
ROW_SUM_AVX2 inline __m256i larger_bits(__m256i largest, const float* from) {
  return _mm256_max_epu32(largest, _mm256_max_epu32(load256(from), load256(from + 8)));
}

template <typename Element>
ROW_SUM_AVX2 inline Bits<Element> largest_lane(__m256i lanes) {
  std::array<Bits<Element>, 32 / sizeof(Element)> each;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(each.data()), lanes);
  return *std::ranges::max_element(each);
}

template <typename Element>
ROW_SUM_AVX2 RowSum sum_avx2(std::span<const Element> row) {
  __m256d first = _mm256_setzero_pd();
  __m256d second = _mm256_setzero_pd();
  __m256d third = _mm256_setzero_pd();
  __m256d fourth = _mm256_setzero_pd();
  __m256i largest = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kPartialSums <= row.size(); i += kPartialSums) {
    const Element* from = row.data() + i;
    const __m256 low = load_floats(from);
    const __m256 high = load_floats(from + 8);
    largest = larger_bits(largest, from);
    first = _mm256_add_pd(first, _mm256_cvtps_pd(_mm256_castps256_ps128(low)));
    second = _mm256_add_pd(second, _mm256_cvtps_pd(_mm256_extractf128_ps(low, 1)));
    third = _mm256_add_pd(third, _mm256_cvtps_pd(_mm256_castps256_ps128(high)));
    fourth = _mm256_add_pd(fourth, _mm256_cvtps_pd(_mm256_extractf128_ps(high, 1)));
  }
  Partial<Element> partial;
  _mm256_storeu_pd(partial.sums.data(), first);
  _mm256_storeu_pd(partial.sums.data() + 4, second);
  _mm256_storeu_pd(partial.sums.data() + 8, third);
  _mm256_storeu_pd(partial.sums.data() + 12, fourth);
  partial.largest = largest_lane<Element>(largest);
  add_portable(row.subspan(i), partial);
  return whole(partial);
}

template <typename Element>
ROW_SUM_AVX2 bool finite_avx2(std::span<const Element> values) {
  constexpr bool kHalf = sizeof(Element) == 2;
  constexpr std::size_t kAtOnce = 32 / sizeof(Element);
  const __m256i magnitude = kHalf ? _mm256_set1_epi16(0x7FFF) : _mm256_set1_epi32(0x7FFFFFFF);
  __m256i largest = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kAtOnce <= values.size(); i += kAtOnce) {
    const __m256i bits = _mm256_and_si256(load256(values.data() + i), magnitude);
    largest = kHalf ? _mm256_max_epu16(largest, bits) : _mm256_max_epu32(largest, bits);
  }
  return largest_lane<Element>(largest) < kInfiniteBits<Element> && finite_portable(values.subspan(i));
}

template <typename Element>
ROW_SUM_AVX512 RowSum sum_avx512(std::span<const Element> row) {
  __m512d low = _mm512_setzero_pd();
  __m512d high = _mm512_setzero_pd();
  __m256i largest = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kPartialSums <= row.size(); i += kPartialSums) {
    const Element* from = row.data() + i;
    largest = larger_bits(largest, from);
    // All lanes of a masked instruction: GCC 12 takes the unmasked one's undefined source for an uninitialised
    // variable.
    low = _mm512_add_pd(low, _mm512_maskz_cvtps_pd(0xFF, load_floats(from)));
    high = _mm512_add_pd(high, _mm512_maskz_cvtps_pd(0xFF, load_floats(from + 8)));
  }
  Partial<Element> partial;
  _mm512_storeu_pd(partial.sums.data(), low);
  _mm512_storeu_pd(partial.sums.data() + 8, high);
  partial.largest = largest_lane<Element>(largest);
  add_portable(row.subspan(i), partial);
  return whole(partial);
}

#undef ROW_SUM_AVX2
#undef ROW_SUM_AVX512

template <typename Element>
const RowSumKernels<Element>& fastest_row_sums() {
  static const RowSumKernels<Element>& chosen = []() -> const RowSumKernels<Element>& {
    const std::span<const RowSumKernels<Element>> all = row_sum_kernels<Element>();
    return *std::ranges::find(all, true, &RowSumKernels<Element>::supported);
  }();
  return chosen;
}

}  // namespace

template <typename Element>
std::span<const RowSumKernels<Element>> row_sum_kernels() {
  static const bool kAvx2 = __builtin_cpu_supports("avx2") != 0 && has_f16c();
  static const RowSumKernels<Element> kAll[] = {
      {"avx512", kAvx2 && has_avx512(), sum_avx512<Element>, finite_avx2<Element>},
      {"avx2", kAvx2, sum_avx2<Element>, finite_avx2<Element>},
      {"portable", true, sum_portable<Element>, finite_portable<Element>},
  };
  return kAll;
}
template std::span<const RowSumKernels<Half>> row_sum_kernels();
template std::span<const RowSumKernels<float>> row_sum_kernels();

RowSum row_sum(std::span<const Half> row) { return fastest_row_sums<Half>().sum(row); }
RowSum row_sum(std::span<const float> row) { return fastest_row_sums<float>().sum(row); }
bool all_finite(std::span<const Half> values) { return fastest_row_sums<Half>().finite(values); }
bool all_finite(std::span<const float> values) { return fastest_row_sums<float>().finite(values); }

}  // namespace evictlab::core
