#include "core/attention_kernels.hpp"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/cpu.hpp"

namespace evictlab::core {
namespace {

// e^x for x in [-87, 0]: x = n ln 2 + r with |r| <= ln 2 / 2; e^r by the polynomial 1 + r + r^2 (c2 + c3 r + ...) whose
// coefficients minimise the largest relative error (4e-9, before rounding); times 2^n by adding n to the exponent's
// bits. Below -87 the result would soon not be a normal number.
constexpr float kSmallestExponent = -87.0F;
constexpr float kLog2E = 1.44269504F;
constexpr float kLn2 = 0.693147182F;
constexpr float kLn2Rest = -1.90465430e-9F;  // ln 2 - kLn2
// Adding 1.5 * 2^23 rounds to a whole number and leaves it in the sum's lowest bits.
constexpr float kRound = 12582912.0F;
constexpr float kC2 = 0x1.fffffcp-2F;
constexpr float kC3 = 0x1.55549p-3F;
constexpr float kC4 = 0x1.5558f8p-5F;
constexpr float kC5 = 0x1.123b04p-7F;
constexpr float kC6 = 0x1.6a2256p-10F;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

double sum_of_lanes(double (&lanes)[kSumLanes]) {
  for (std::size_t width = kSumLanes / 2; width > 0; width /= 2) {
    for (std::size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// ---- Any processor. std::fma rounds once everywhere, in hardware or not.

/// a b + c, rounded once, without the call and the changes of rounding mode of std::fma in software: the sum in double
/// is rounded to odd, after which rounding it to float is exact (Boldo and Melquiond 2008).
float fused(float a, float b, float c) {
  const double product = double{a} * double{b};
  const double sum = product + double{c};
  const double of_c = sum - product;
  const double rest = (product - (sum - of_c)) + (double{c} - of_c);
  auto bits = std::bit_cast<std::uint64_t>(sum);
  const bool inexact = rest < 0 || rest > 0;
  const std::uint64_t towards_rest = (rest > 0) == (sum > 0) ? 1 : ~std::uint64_t{0};
  bits += inexact && bits % 2 == 0 ? towards_rest : 0;
  return static_cast<float>(std::bit_cast<double>(bits));
}

void transpose_portable(const float* keys, std::size_t count, std::size_t dim, float* tile) {
  for (std::size_t i = 0; i < dim; ++i) {
    for (std::size_t j = 0; j < count; ++j) tile[i * count + j] = keys[j * dim + i];
  }
}

void multiply_portable(const float* queries, const float* keys, std::size_t dim, float* products, std::size_t stride) {
  for (std::size_t part = 0; part < dim; part += kSumSteps) {
    float sums[kQueryTile][kKeyTile] = {};
    for (std::size_t i = part; i < std::min(part + kSumSteps, dim); ++i) {
      for (std::size_t r = 0; r < kQueryTile; ++r) {
        const float query = queries[i * kQueryTile + r];
        for (std::size_t j = 0; j < kKeyTile; ++j) sums[r][j] = fused(query, keys[i * kKeyTile + j], sums[r][j]);
      }
    }
    for (std::size_t r = 0; r < kQueryTile; ++r) {
      for (std::size_t j = 0; j < kKeyTile; ++j) products[r * stride + j] += sums[r][j];
    }
  }
}

float exponential_portable(float x) {
  if (!(x >= kSmallestExponent)) return 0.0F;
  const float shifted = std::fma(x, kLog2E, kRound);
  const float n = shifted - kRound;
  const float r = std::fma(-n, kLn2Rest, std::fma(-n, kLn2, x));
  float p = std::fma(kC6, r, kC5);
  p = std::fma(p, r, kC4);
  p = std::fma(p, r, kC3);
  p = std::fma(p, r, kC2);
  p = std::fma(p, r, 1.0F);
  p = std::fma(p, r, 1.0F);
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + (std::bit_cast<std::uint32_t>(shifted) << 23U));
}

float exponentials_portable(const float* logits, std::size_t count, float scale, float* weights, double* sum) {
  float largest = -kInfinity;
  for (std::size_t j = 0; j < count; ++j) largest = std::max(largest, logits[j]);
  double lanes[kSumLanes] = {};
  for (std::size_t j = 0; j < count; ++j) {
    weights[j] = exponential_portable((logits[j] - largest) * scale);
    lanes[j % kSumLanes] += double{weights[j]};
  }
  *sum = sum_of_lanes(lanes);
  return largest;
}

// Loops over registers: only unrolled early enough does g++ keep an array of sums in registers throughout.
#define EVICTLAB_UNROLL _Pragma("GCC unroll 8")

// ---- AVX2 with fused multiply-add

#define EVICTLAB_AVX2 __attribute__((target("avx2,fma")))

// Eight rows of eight, `from_stride` and `to_stride` apart.
EVICTLAB_AVX2 void transpose_eight(const float* from, std::size_t from_stride, float* to, std::size_t to_stride) {
  __m256 rows[8];
  for (std::size_t j = 0; j < 8; ++j) rows[j] = _mm256_loadu_ps(from + j * from_stride);
  // Rows j and j+4 halve each other, then j and j+2, then neighbours: what remains is a column in every register.
  __m256 halves[8];
  for (std::size_t j = 0; j < 4; ++j) {
    halves[j] = _mm256_permute2f128_ps(rows[j], rows[j + 4], 0x20);
    halves[j + 4] = _mm256_permute2f128_ps(rows[j], rows[j + 4], 0x31);
  }
  for (std::size_t half = 0; half < 8; half += 4) {
    const __m256 even_low = _mm256_unpacklo_ps(halves[half], halves[half + 2]);
    const __m256 even_high = _mm256_unpackhi_ps(halves[half], halves[half + 2]);
    const __m256 odd_low = _mm256_unpacklo_ps(halves[half + 1], halves[half + 3]);
    const __m256 odd_high = _mm256_unpackhi_ps(halves[half + 1], halves[half + 3]);
    _mm256_storeu_ps(to + half * to_stride, _mm256_unpacklo_ps(even_low, odd_low));
    _mm256_storeu_ps(to + (half + 1) * to_stride, _mm256_unpackhi_ps(even_low, odd_low));
    _mm256_storeu_ps(to + (half + 2) * to_stride, _mm256_unpacklo_ps(even_high, odd_high));
    _mm256_storeu_ps(to + (half + 3) * to_stride, _mm256_unpackhi_ps(even_high, odd_high));
  }
}

EVICTLAB_AVX2 void transpose_avx2(const float* keys, std::size_t count, std::size_t dim, float* tile) {
  for (std::size_t j = 0; j < count; j += 8) {
    std::size_t i = 0;
    for (; i + 8 <= dim; i += 8) transpose_eight(keys + j * dim + i, dim, tile + i * count + j, count);
    for (; i < dim; ++i) {
      for (std::size_t k = j; k < j + 8; ++k) tile[i * count + k] = keys[k * dim + i];
    }
  }
}

// A tile's part: `kRows` queries, `kVectors` * 8 keys, `steps` components.
EVICTLAB_AVX2 void multiply_part_avx2(const float* queries, const float* keys, std::size_t steps, float* products,
                                      std::size_t stride) {
  constexpr std::size_t kRows = 4;
  constexpr std::size_t kVectors = 3;
  __m256 sums[kRows][kVectors];
  EVICTLAB_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    EVICTLAB_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = _mm256_setzero_ps();
  }
  for (std::size_t i = 0; i < steps; ++i) {
    __m256 vectors[kVectors];
    EVICTLAB_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) vectors[v] = _mm256_loadu_ps(keys + i * kKeyTile + 8 * v);
    EVICTLAB_UNROLL
    for (std::size_t r = 0; r < kRows; ++r) {
      const __m256 query = _mm256_broadcast_ss(queries + i * kQueryTile + r);
      EVICTLAB_UNROLL
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = _mm256_fmadd_ps(query, vectors[v], sums[r][v]);
    }
  }
  EVICTLAB_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    EVICTLAB_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
      float* place = products + r * stride + 8 * v;
      _mm256_storeu_ps(place, _mm256_add_ps(_mm256_loadu_ps(place), sums[r][v]));
    }
  }
}

EVICTLAB_AVX2 void multiply_avx2(const float* queries, const float* keys, std::size_t dim, float* products,
                                 std::size_t stride) {
  for (std::size_t part = 0; part < dim; part += kSumSteps) {
    for (std::size_t row = 0; row < kQueryTile; row += kQueryTile / 2) {
      for (std::size_t key = 0; key < kKeyTile; key += kKeyTile / 2) {
        multiply_part_avx2(queries + part * kQueryTile + row, keys + part * kKeyTile + key,
                           std::min(kSumSteps, dim - part), products + row * stride + key, stride);
      }
    }
  }
}

EVICTLAB_AVX2 __m256 exponential_avx2(__m256 x) {
  const __m256 kept = _mm256_cmp_ps(x, _mm256_set1_ps(kSmallestExponent), _CMP_GE_OQ);
  const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(kLog2E), _mm256_set1_ps(kRound));
  const __m256 n = _mm256_sub_ps(shifted, _mm256_set1_ps(kRound));
  const __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2Rest), _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2), x));
  __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(kC6), r, _mm256_set1_ps(kC5));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kC4));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kC3));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kC2));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F));
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_and_ps(_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent)), kept);
}

EVICTLAB_AVX2 float exponentials_avx2(const float* logits, std::size_t count, float scale, float* weights,
                                      double* sum) {
  __m256 maxima = _mm256_set1_ps(-kInfinity);
  for (std::size_t j = 0; j < count; j += 8) maxima = _mm256_max_ps(maxima, _mm256_loadu_ps(logits + j));
  float candidates[8];
  _mm256_storeu_ps(candidates, maxima);
  const float largest = *std::max_element(candidates, candidates + 8);
  __m256d sums[kSumLanes / 4];
  for (__m256d& lanes : sums) lanes = _mm256_setzero_pd();
  for (std::size_t j = 0; j < count; j += kSumLanes) {
    for (std::size_t half = 0; half < 2; ++half) {
      const __m256 differences = _mm256_sub_ps(_mm256_loadu_ps(logits + j + 8 * half), _mm256_set1_ps(largest));
      const __m256 weight = exponential_avx2(_mm256_mul_ps(differences, _mm256_set1_ps(scale)));
      _mm256_storeu_ps(weights + j + 8 * half, weight);
      __m256d* lanes = sums + 2 * half;
      lanes[0] = _mm256_add_pd(lanes[0], _mm256_cvtps_pd(_mm256_castps256_ps128(weight)));
      lanes[1] = _mm256_add_pd(lanes[1], _mm256_cvtps_pd(_mm256_extractf128_ps(weight, 1)));
    }
  }
  double lanes[kSumLanes];
  for (std::size_t i = 0; i < kSumLanes; i += 4) _mm256_storeu_pd(lanes + i, sums[i / 4]);
  *sum = sum_of_lanes(lanes);
  return largest;
}

// ---- AVX-512. Tiles are transposed by AVX2's kernel: that is a fiftieth of the work. Some intrinsics are given a mask
// of all lanes, since g++ 12 takes their unmasked forms' own placeholder for an uninitialised variable (GCC bug
// 105593).

#define EVICTLAB_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))

EVICTLAB_AVX512 void multiply_avx512(const float* queries, const float* keys, std::size_t dim, float* products,
                                     std::size_t stride) {
  constexpr std::size_t kVectors = 3;
  for (std::size_t part = 0; part < dim; part += kSumSteps) {
    __m512 sums[kQueryTile][kVectors];
    EVICTLAB_UNROLL
    for (std::size_t r = 0; r < kQueryTile; ++r) {
      EVICTLAB_UNROLL
      for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = _mm512_setzero_ps();
    }
    for (std::size_t i = part; i < std::min(part + kSumSteps, dim); ++i) {
      __m512 vectors[kVectors];
      EVICTLAB_UNROLL
      for (std::size_t v = 0; v < kVectors; ++v) vectors[v] = _mm512_loadu_ps(keys + i * kKeyTile + 16 * v);
      EVICTLAB_UNROLL
      for (std::size_t r = 0; r < kQueryTile; ++r) {
        const __m512 query = _mm512_set1_ps(queries[i * kQueryTile + r]);
        EVICTLAB_UNROLL
        for (std::size_t v = 0; v < kVectors; ++v) sums[r][v] = _mm512_fmadd_ps(query, vectors[v], sums[r][v]);
      }
    }
    EVICTLAB_UNROLL
    for (std::size_t r = 0; r < kQueryTile; ++r) {
      EVICTLAB_UNROLL
      for (std::size_t v = 0; v < kVectors; ++v) {
        float* place = products + r * stride + 16 * v;
        _mm512_storeu_ps(place, _mm512_add_ps(_mm512_loadu_ps(place), sums[r][v]));
      }
    }
  }
}

EVICTLAB_AVX512 __m512 exponential_avx512(__m512 x) {
  const __mmask16 kept = _mm512_cmp_ps_mask(x, _mm512_set1_ps(kSmallestExponent), _CMP_GE_OQ);
  const __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(kLog2E), _mm512_set1_ps(kRound));
  const __m512 n = _mm512_sub_ps(shifted, _mm512_set1_ps(kRound));
  const __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2Rest), _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2), x));
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(kC6), r, _mm512_set1_ps(kC5));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kC4));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kC3));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kC2));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0F));
  const __m512i exponent = _mm512_maskz_slli_epi32(kept, _mm512_castps_si512(shifted), 23);
  return _mm512_castsi512_ps(_mm512_maskz_add_epi32(kept, _mm512_castps_si512(p), exponent));
}

EVICTLAB_AVX512 float exponentials_avx512(const float* logits, std::size_t count, float scale, float* weights,
                                          double* sum) {
  __m512 maxima = _mm512_set1_ps(-kInfinity);
  for (std::size_t j = 0; j < count; j += 16) maxima = _mm512_maskz_max_ps(0xFFFF, maxima, _mm512_loadu_ps(logits + j));
  float candidates[16];
  _mm512_storeu_ps(candidates, maxima);
  const float largest = *std::max_element(candidates, candidates + 16);
  __m512d low = _mm512_setzero_pd();
  __m512d high = _mm512_setzero_pd();
  for (std::size_t j = 0; j < count; j += 16) {
    const __m512 differences = _mm512_sub_ps(_mm512_loadu_ps(logits + j), _mm512_set1_ps(largest));
    const __m512 weight = exponential_avx512(_mm512_mul_ps(differences, _mm512_set1_ps(scale)));
    _mm512_storeu_ps(weights + j, weight);
    const __m256d lower = _mm512_maskz_extractf64x4_pd(0xFF, _mm512_castps_pd(weight), 0);
    const __m256d upper = _mm512_maskz_extractf64x4_pd(0xFF, _mm512_castps_pd(weight), 1);
    low = _mm512_add_pd(low, _mm512_maskz_cvtps_pd(0xFF, _mm256_castpd_ps(lower)));
    high = _mm512_add_pd(high, _mm512_maskz_cvtps_pd(0xFF, _mm256_castpd_ps(upper)));
  }
  double lanes[kSumLanes];
  _mm512_storeu_pd(lanes, low);
  _mm512_storeu_pd(lanes + 8, high);
  *sum = sum_of_lanes(lanes);
  return largest;
}

#undef EVICTLAB_UNROLL
#undef EVICTLAB_AVX2
#undef EVICTLAB_AVX512

}  // namespace

std::span<const AttentionKernels> attention_kernels() {
  static const bool kAvx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  static const AttentionKernels kAll[] = {
      {"avx512", kAvx2 && has_avx512(), transpose_avx2, multiply_avx512, exponentials_avx512},
      {"avx2", kAvx2, transpose_avx2, multiply_avx2, exponentials_avx2},
      {"portable", true, transpose_portable, multiply_portable, exponentials_portable},
  };
  return kAll;
}

const AttentionKernels& fastest_attention_kernels() {
  static const AttentionKernels& chosen = fastest_supported(attention_kernels());
  return chosen;
}

}  // namespace evictlab::core
