#include "core/row_kernels.hpp"

#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "core/cpu.hpp"

namespace evictlab::core {
namespace {

// 1/c and ln c for c in the middle of each eighth of [1, 2); twice, so that the bit before the three that choose one
// does not matter to lanes of sixteen.
constexpr std::array<float, 16> kInverses = {
    0.941176474F, 0.842105269F, 0.761904776F, 0.695652187F, 0.639999986F, 0.592592597F, 0.551724136F, 0.516129017F,
    0.941176474F, 0.842105269F, 0.761904776F, 0.695652187F, 0.639999986F, 0.592592597F, 0.551724136F, 0.516129017F};
constexpr std::array<float, 16> kLogarithms = {
    0.0606246184F, 0.171850249F, 0.271933705F, 0.362905482F, 0.446287125F, 0.523248136F, 0.594707111F, 0.661398506F,
    0.0606246184F, 0.171850249F, 0.271933705F, 0.362905482F, 0.446287125F, 0.523248136F, 0.594707111F, 0.661398506F};

template <typename Element>
StoredRows<Element> columns_from(const StoredRows<Element>& rows, std::size_t first) {
  return {rows.first + first, rows.stride, rows.rows, rows.columns - first};
}

namespace portable {
#define TARGET
using Floats = float;
using Doubles = double;
using WideFloats = float;
constexpr std::size_t kLanes = 1;
constexpr std::size_t kWideLanes = 1;
inline float load(const Half* from) { return to_float(*from); }
inline float load(const float* from) { return *from; }
inline double load(const double* from) { return *from; }
inline float load_wide(const Half* from) { return to_float(*from); }
inline float load_wide(const float* from) { return *from; }
inline void store(double* to, double value) { *to = value; }
inline double widen(float value) { return value; }
inline float all(float value) { return value; }
inline float multiply_add(float a, float b, float c) { return std::fma(a, b, c); }
inline double multiply_add(double a, double b, double c) { return std::fma(a, b, c); }
inline void add_wide(double* to, float value) { *to += static_cast<double>(value); }
inline float exponent(float x) {
  return static_cast<float>(static_cast<int>(std::bit_cast<std::uint32_t>(x) >> 23U) - 127);
}
inline float fraction(float x) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) & 0x7FFFFFU) | 0x3F800000U);
}
inline float look_up(const std::array<float, 16>& table, float x) {
  return table[(std::bit_cast<std::uint32_t>(x) >> 20U) % 8];
}
#include "row_kernels.def"
#undef TARGET
}  // namespace portable

namespace avx2 {
#define TARGET __attribute__((target("avx2,fma,f16c")))
using Floats = __m128;
using Doubles = __m256d;
using WideFloats = __m256;
constexpr std::size_t kLanes = 4;
constexpr std::size_t kWideLanes = 8;
TARGET inline __m128 load(const Half* from) {
  return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
TARGET inline __m128 load(const float* from) { return _mm_loadu_ps(from); }
TARGET inline __m256d load(const double* from) { return _mm256_loadu_pd(from); }
TARGET inline __m256 load_wide(const Half* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
TARGET inline __m256 load_wide(const float* from) { return _mm256_loadu_ps(from); }
TARGET inline void store(double* to, __m256d values) { _mm256_storeu_pd(to, values); }
TARGET inline __m256d widen(__m128 values) { return _mm256_cvtps_pd(values); }
TARGET inline __m256 all(float value) { return _mm256_set1_ps(value); }
TARGET inline __m256 multiply_add(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
TARGET inline __m256d multiply_add(__m256d a, __m256d b, __m256d c) { return _mm256_fmadd_pd(a, b, c); }
TARGET inline void add_wide(double* to, __m256 values) {
  store(to, load(to) + widen(_mm256_castps256_ps128(values)));
  store(to + 4, load(to + 4) + widen(_mm256_extractf128_ps(values, 1)));
}
TARGET inline __m256 exponent(__m256 x) {
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(_mm256_castps_si256(x), 23), _mm256_set1_epi32(127)));
}
TARGET inline __m256 fraction(__m256 x) {
  const __m256 bits = _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FFFFF)));
  return _mm256_or_ps(bits, _mm256_set1_ps(1.0F));
}
TARGET inline __m256 look_up(const std::array<float, 16>& table, __m256 x) {
  return _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.data()), _mm256_srli_epi32(_mm256_castps_si256(x), 20));
}
#include "row_kernels.def"
#undef TARGET
}  // namespace avx2

namespace avx512 {
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,f16c")))
using Floats = __m256;
using Doubles = __m512d;
using WideFloats = __m512;
constexpr std::size_t kLanes = 8;
constexpr std::size_t kWideLanes = 16;
// Masks that take every lane: g++ 12 sees uninitialised values in the intrinsics without a mask.
constexpr __mmask8 kAll8 = 0xFF;
constexpr __mmask16 kAll16 = 0xFFFF;
TARGET inline __m256 load(const Half* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
TARGET inline __m256 load(const float* from) { return _mm256_loadu_ps(from); }
TARGET inline __m512d load(const double* from) { return _mm512_loadu_pd(from); }
TARGET inline __m512 load_wide(const Half* from) {
  return _mm512_maskz_cvtph_ps(kAll16, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
TARGET inline __m512 load_wide(const float* from) { return _mm512_loadu_ps(from); }
TARGET inline void store(double* to, __m512d values) { _mm512_storeu_pd(to, values); }
TARGET inline __m512d widen(__m256 values) { return _mm512_maskz_cvtps_pd(kAll8, values); }
TARGET inline __m512 all(float value) { return _mm512_set1_ps(value); }
TARGET inline __m512 multiply_add(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
TARGET inline __m512d multiply_add(__m512d a, __m512d b, __m512d c) { return _mm512_fmadd_pd(a, b, c); }
template <int kWhich>
TARGET inline __m256 half_of(__m512 values) {
  return _mm256_castpd_ps(_mm512_maskz_extractf64x4_pd(kAll8, _mm512_castps_pd(values), kWhich));
}
TARGET inline void add_wide(double* to, __m512 values) {
  store(to, load(to) + widen(half_of<0>(values)));
  store(to + 8, load(to + 8) + widen(half_of<1>(values)));
}
TARGET inline __m512 exponent(__m512 x) { return _mm512_maskz_getexp_ps(kAll16, x); }
TARGET inline __m512 fraction(__m512 x) {
  return _mm512_maskz_getmant_ps(kAll16, x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src);
}
TARGET inline __m512 look_up(const std::array<float, 16>& table, __m512 x) {
  return _mm512_maskz_permutexvar_ps(kAll16, _mm512_maskz_srli_epi32(kAll16, _mm512_castps_si512(x), 20),
                                     _mm512_loadu_ps(table.data()));
}
#include "row_kernels.def"
#undef TARGET
}  // namespace avx512

template <typename Element>
const RowKernels<Element>& fastest_rows() {
  static const RowKernels<Element>& chosen = fastest_supported(row_kernels<Element>());
  return chosen;
}

// Calls body(rows of at most kColumnsAtOnce columns, first column).
template <typename Element, typename Body>
void for_columns(const StoredRows<Element>& rows, const Body& body) {
  for (std::size_t first = 0; first < rows.columns; first += kColumnsAtOnce) {
    StoredRows<Element> part = columns_from(rows, first);
    part.columns = std::min(part.columns, kColumnsAtOnce);
    body(part, first);
  }
}

using Scratch = std::array<double, kColumnsAtOnce>;

template <typename Element>
void sums_of(const StoredRows<Element>& rows, double factor, std::span<double> sums) {
  Scratch stored;
  for_columns(rows, [&](const StoredRows<Element>& part, std::size_t first) {
    std::fill_n(stored.begin(), part.columns, 0.0);
    fastest_rows<Element>().sums(part, stored.data());
    for (std::size_t j = 0; j < part.columns; ++j) sums[first + j] += stored[j] * factor;
  });
}

// The first row as doubles: the sum of one row.
template <typename Element>
void moments_of(const StoredRows<Element>& rows, double factor, std::span<double> means, std::span<double> variances) {
  Scratch origin;
  Scratch sums;
  Scratch squares;
  const auto count = static_cast<double>(rows.rows);
  const double part_of_mean = 1.0 / count;
  const double part_of_variance = factor * factor / std::max(1.0, count - 1.0);
  for_columns(rows, [&](const StoredRows<Element>& part, std::size_t first) {
    std::fill_n(origin.begin(), part.columns, 0.0);
    std::fill_n(sums.begin(), part.columns, 0.0);
    std::fill_n(squares.begin(), part.columns, 0.0);
    fastest_rows<Element>().sums({part.first, part.stride, 1, part.columns}, origin.data());
    fastest_rows<Element>().deviations(part, sums.data(), squares.data());
    for (std::size_t j = 0; j < part.columns; ++j) {
      const double mean = sums[j] * part_of_mean;
      means[first + j] = (origin[j] + mean) * factor;
      const double variance = (squares[j] - sums[j] * mean) * part_of_variance;
      variances[first + j] = variance > 0.0 ? variance : 0.0;
    }
  });
}

}  // namespace

template <typename Element>
std::span<const RowKernels<Element>> row_kernels() {
  static const RowKernels<Element> kAll[] = {
      {"avx512", has_avx512() && has_f16c(), avx512::add_sums<Element>, avx512::add_deviations<Element>,
       avx512::add_logarithms<Element>},
      {"avx2", __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && has_f16c(),
       avx2::add_sums<Element>, avx2::add_deviations<Element>, avx2::add_logarithms<Element>},
      {"portable", true, portable::add_sums<Element>, portable::add_deviations<Element>,
       portable::add_logarithms<Element>},
  };
  return kAll;
}
template std::span<const RowKernels<Half>> row_kernels();
template std::span<const RowKernels<float>> row_kernels();

void add_column_sums(const StoredRows<Half>& rows, double factor, std::span<double> sums) {
  sums_of(rows, factor, sums);
}
void add_column_sums(const StoredRows<float>& rows, double factor, std::span<double> sums) {
  sums_of(rows, factor, sums);
}

void column_moments(const StoredRows<Half>& rows, double factor, std::span<double> means, std::span<double> variances) {
  moments_of(rows, factor, means, variances);
}
void column_moments(const StoredRows<float>& rows, double factor, std::span<double> means,
                    std::span<double> variances) {
  moments_of(rows, factor, means, variances);
}

void add_column_logarithms(const StoredRows<Half>& rows, float factor, float offset, std::span<double> sums) {
  fastest_rows<Half>().logarithms(rows, factor, offset, sums.data());
}
void add_column_logarithms(const StoredRows<float>& rows, float factor, float offset, std::span<double> sums) {
  fastest_rows<float>().logarithms(rows, factor, offset, sums.data());
}

float natural_logarithm(float value) { return portable::logarithm(value); }

}  // namespace evictlab::core
