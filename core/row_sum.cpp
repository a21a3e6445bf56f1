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

/// Partial sums in float, element i in sum i % 32 whatever the instruction set, which are added up in double after so
/// many elements: before their rounding errors, 2^-24 an addition, come to more than 2^-17.
constexpr std::size_t kPartialSums = 32;
constexpr std::size_t kSummedTogether = 128 * kPartialSums;

template <typename Element>
struct BlockSum {
  std::array<float, kPartialSums> sums = {};
  Bits<Element> largest = 0;
};

/// Adds elements one by one; the first of them belongs to the first sum.
template <typename Element>
void add_portable(std::span<const Element> elements, BlockSum<Element>& block) {
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const Bits<Element> bits = bits_of(elements[i]);
    block.sums[i % kPartialSums] += value_of(bits);
    block.largest = std::max(block.largest, bits);
  }
}

/// The sum of a row by an implementation of the sum of at most kSummedTogether elements.
template <typename Element, typename AddBlock>
RowSum sum_by_blocks(std::span<const Element> row, const AddBlock& add_block) {
  RowSum result;
  Bits<Element> largest = 0;
  for (std::size_t begin = 0; begin < row.size(); begin += kSummedTogether) {
    BlockSum<Element> block;
    add_block(row.subspan(begin, std::min(kSummedTogether, row.size() - begin)), block);
    for (const float sum : block.sums) result.sum += static_cast<double>(sum);
    largest = std::max(largest, block.largest);
  }
  result.regular = largest < kInfiniteBits<Element>;
  if (result.regular) result.largest = value_of(largest);
  return result;
}

template <typename Element>
RowSum sum_portable(std::span<const Element> row) {
  return sum_by_blocks(row, add_portable<Element>);
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

ROW_SUM_AVX2 inline __m256i larger(__m256i a, __m256i b, Half) { return _mm256_max_epu16(a, b); }
ROW_SUM_AVX2 inline __m256i larger(__m256i a, __m256i b, float) { return _mm256_max_epu32(a, b); }
/// The larger bits, lane by lane, of those so far and of 32 elements.
template <typename Element>
ROW_SUM_AVX2 inline __m256i larger_bits(__m256i largest, const Element* from) {
  constexpr std::size_t kAtOnce = 32 / sizeof(Element);
  for (std::size_t i = 0; i < kPartialSums; i += kAtOnce) largest = larger(largest, load256(from + i), Element{});
  return largest;
}

template <typename Element>
ROW_SUM_AVX2 inline Bits<Element> largest_lane(__m256i lanes) {
  std::array<Bits<Element>, 32 / sizeof(Element)> each;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(each.data()), lanes);
  return *std::ranges::max_element(each);
}

// What follows a kernel may be code without AVX (a library's), which is slow while registers' upper halves are in use.

template <typename Element>
ROW_SUM_AVX2 void add_avx2(std::span<const Element> elements, BlockSum<Element>& block) {
  __m256 first = _mm256_setzero_ps();
  __m256 second = _mm256_setzero_ps();
  __m256 third = _mm256_setzero_ps();
  __m256 fourth = _mm256_setzero_ps();
  __m256i largest = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kPartialSums <= elements.size(); i += kPartialSums) {
    const Element* from = elements.data() + i;
    first = _mm256_add_ps(first, load_floats(from));
    second = _mm256_add_ps(second, load_floats(from + 8));
    third = _mm256_add_ps(third, load_floats(from + 16));
    fourth = _mm256_add_ps(fourth, load_floats(from + 24));
    largest = larger_bits(largest, from);
  }
  _mm256_storeu_ps(block.sums.data(), first);
  _mm256_storeu_ps(block.sums.data() + 8, second);
  _mm256_storeu_ps(block.sums.data() + 16, third);
  _mm256_storeu_ps(block.sums.data() + 24, fourth);
  block.largest = largest_lane<Element>(largest);
  _mm256_zeroupper();
  add_portable(elements.subspan(i), block);
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
    largest = larger(largest, bits, Element{});
  }
  const Bits<Element> found = largest_lane<Element>(largest);
  _mm256_zeroupper();
  return found < kInfiniteBits<Element> && finite_portable(values.subspan(i));
}

ROW_SUM_AVX512 inline __m512 load_sixteen(const Half* from) {
  // All lanes of a masked instruction: GCC 12 takes the unmasked one's undefined source for an uninitialised variable.
  return _mm512_maskz_cvtph_ps(0xFFFF, load256(from));
}
ROW_SUM_AVX512 inline __m512 load_sixteen(const float* from) { return _mm512_loadu_ps(from); }

template <typename Element>
ROW_SUM_AVX512 void add_avx512(std::span<const Element> elements, BlockSum<Element>& block) {
  __m512 low = _mm512_setzero_ps();
  __m512 high = _mm512_setzero_ps();
  __m256i largest = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + kPartialSums <= elements.size(); i += kPartialSums) {
    const Element* from = elements.data() + i;
    low = _mm512_add_ps(low, load_sixteen(from));
    high = _mm512_add_ps(high, load_sixteen(from + 16));
    largest = larger_bits(largest, from);
  }
  _mm512_storeu_ps(block.sums.data(), low);
  _mm512_storeu_ps(block.sums.data() + 16, high);
  block.largest = largest_lane<Element>(largest);
  _mm256_zeroupper();
  add_portable(elements.subspan(i), block);
}

template <typename Element>
RowSum sum_avx2(std::span<const Element> row) {
  return sum_by_blocks(row, add_avx2<Element>);
}

template <typename Element>
RowSum sum_avx512(std::span<const Element> row) {
  return sum_by_blocks(row, add_avx512<Element>);
}

#undef ROW_SUM_AVX2
#undef ROW_SUM_AVX512

template <typename Element>
const RowSumKernels<Element>& fastest_row_sums() {
  static const RowSumKernels<Element>& chosen = fastest_supported(row_sum_kernels<Element>());
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
