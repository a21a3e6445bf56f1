#include "core/weighted_sums.hpp"

#include <fmt/format.h>
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "core/cpu.hpp"

namespace evictlab::core {
namespace {

// Positions at a time, whose weights of a tile of rows are widened once and stay in the first-level cache.
constexpr std::size_t kPositions = 64;

void add_portable(std::span<const float* const> weights, const double* values, std::size_t rows, std::size_t width,
                  double* sums) {
  for (std::size_t p = 0; p < weights.size(); ++p) {
    for (std::size_t c = 0; c < width; ++c) {
      for (std::size_t t = 0; t < rows; ++t) {
        double& sum = sums[c * rows + t];
        sum = std::fma(double{weights[p][t]}, values[p * width + c], sum);
      }
    }
  }
}

// Loops over registers: only unrolled early enough does g++ keep an array of sums in registers throughout.
#define EVICTLAB_UNROLL _Pragma("GCC unroll 8")

// ---- AVX2 with fused multiply-add: tiles of two vectors

#define EVICTLAB_AVX2 __attribute__((target("avx2,fma")))

EVICTLAB_AVX2 void add_tile_avx2(const double* weights, std::size_t count, const double* values, std::size_t rows,
                                 std::size_t width, double* sums) {
  for (std::size_t c = 0; c < width; c += kValueTile) {
    __m256d low[kValueTile];
    __m256d high[kValueTile];
    EVICTLAB_UNROLL
    for (std::size_t i = 0; i < kValueTile; ++i) {
      low[i] = _mm256_loadu_pd(sums + (c + i) * rows);
      high[i] = _mm256_loadu_pd(sums + (c + i) * rows + 4);
    }
    for (std::size_t p = 0; p < count; ++p) {
      const __m256d first = _mm256_loadu_pd(weights + p * kWeightTile);
      const __m256d second = _mm256_loadu_pd(weights + p * kWeightTile + 4);
      EVICTLAB_UNROLL
      for (std::size_t i = 0; i < kValueTile; ++i) {
        const __m256d value = _mm256_broadcast_sd(values + p * width + c + i);
        low[i] = _mm256_fmadd_pd(first, value, low[i]);
        high[i] = _mm256_fmadd_pd(second, value, high[i]);
      }
    }
    EVICTLAB_UNROLL
    for (std::size_t i = 0; i < kValueTile; ++i) {
      _mm256_storeu_pd(sums + (c + i) * rows, low[i]);
      _mm256_storeu_pd(sums + (c + i) * rows + 4, high[i]);
    }
  }
}

EVICTLAB_AVX2 void add_avx2(std::span<const float* const> weights, const double* values, std::size_t rows,
                            std::size_t width, double* sums) {
  alignas(32) double wide[kPositions * kWeightTile];
  for (std::size_t p = 0; p < weights.size(); p += kPositions) {
    const std::size_t count = std::min(kPositions, weights.size() - p);
    for (std::size_t t = 0; t < rows; t += kWeightTile) {
      for (std::size_t i = 0; i < count; ++i) {
        _mm256_store_pd(wide + i * kWeightTile, _mm256_cvtps_pd(_mm_loadu_ps(weights[p + i] + t)));
        _mm256_store_pd(wide + i * kWeightTile + 4, _mm256_cvtps_pd(_mm_loadu_ps(weights[p + i] + t + 4)));
      }
      add_tile_avx2(wide, count, values + p * width, rows, width, sums + t);
    }
  }
}

// ---- AVX-512: tiles of four vectors, the last ones of two and one

#define EVICTLAB_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl")))

template <std::size_t kVectors>
EVICTLAB_AVX512 void add_tile_avx512(const double* weights, std::size_t count, const double* values, std::size_t rows,
                                     std::size_t width, double* sums) {
  for (std::size_t c = 0; c < width; c += kValueTile) {
    __m512d tile[kValueTile][kVectors];
    EVICTLAB_UNROLL
    for (std::size_t i = 0; i < kValueTile; ++i) {
      EVICTLAB_UNROLL
      for (std::size_t v = 0; v < kVectors; ++v) tile[i][v] = _mm512_loadu_pd(sums + (c + i) * rows + 8 * v);
    }
    for (std::size_t p = 0; p < count; ++p) {
      __m512d weight[kVectors];
      EVICTLAB_UNROLL
      for (std::size_t v = 0; v < kVectors; ++v) weight[v] = _mm512_loadu_pd(weights + (p * kVectors + v) * 8);
      EVICTLAB_UNROLL
      for (std::size_t i = 0; i < kValueTile; ++i) {
        const __m512d value = _mm512_set1_pd(values[p * width + c + i]);
        EVICTLAB_UNROLL
        for (std::size_t v = 0; v < kVectors; ++v) tile[i][v] = _mm512_fmadd_pd(weight[v], value, tile[i][v]);
      }
    }
    EVICTLAB_UNROLL
    for (std::size_t i = 0; i < kValueTile; ++i) {
      EVICTLAB_UNROLL
      for (std::size_t v = 0; v < kVectors; ++v) _mm512_storeu_pd(sums + (c + i) * rows + 8 * v, tile[i][v]);
    }
  }
}

// All lanes by a mask: g++ 12 takes the unmasked form's own placeholder for an uninitialised variable (GCC bug 105593).
template <std::size_t kVectors>
EVICTLAB_AVX512 void add_rows_avx512(std::span<const float* const> weights, const double* values, std::size_t first,
                                     std::size_t rows, std::size_t width, double* wide, double* sums) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    for (std::size_t v = 0; v < kVectors; ++v) {
      const __m256 narrow = _mm256_loadu_ps(weights[i] + first + 8 * v);
      _mm512_store_pd(wide + (i * kVectors + v) * 8, _mm512_maskz_cvtps_pd(0xFF, narrow));
    }
  }
  add_tile_avx512<kVectors>(wide, weights.size(), values, rows, width, sums + first);
}

EVICTLAB_AVX512 void add_avx512(std::span<const float* const> weights, const double* values, std::size_t rows,
                                std::size_t width, double* sums) {
  alignas(64) double wide[kPositions * 4 * kWeightTile];
  for (std::size_t p = 0; p < weights.size(); p += kPositions) {
    const auto block = weights.subspan(p, std::min(kPositions, weights.size() - p));
    std::size_t t = 0;
    for (; t + 4 * kWeightTile <= rows; t += 4 * kWeightTile) {
      add_rows_avx512<4>(block, values + p * width, t, rows, width, wide, sums);
    }
    for (; t + 2 * kWeightTile <= rows; t += 2 * kWeightTile) {
      add_rows_avx512<2>(block, values + p * width, t, rows, width, wide, sums);
    }
    if (t < rows) add_rows_avx512<1>(block, values + p * width, t, rows, width, wide, sums);
  }
}

#undef EVICTLAB_UNROLL
#undef EVICTLAB_AVX2
#undef EVICTLAB_AVX512

}  // namespace

std::span<const WeightedSumKernel> weighted_sum_kernels() {
  static const bool kAvx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
  static const WeightedSumKernel kAll[] = {
      {"avx512", has_avx512(), add_avx512},
      {"avx2", kAvx2, add_avx2},
      {"portable", true, add_portable},
  };
  return kAll;
}

void add_weighted_values(std::span<const float* const> weights, std::span<const double> values, std::size_t rows,
                         std::size_t width, std::span<double> sums) {
  static const WeightedSumKernel& fastest = fastest_supported(weighted_sum_kernels());
  if (rows % kWeightTile != 0 || width % kValueTile != 0 || values.size() != weights.size() * width ||
      sums.size() != rows * width) {
    throw std::invalid_argument(fmt::format("{} values of {} positions do not make {} sums of {} rows", values.size(),
                                            weights.size(), sums.size(), rows));
  }
  fastest.add(weights, values.data(), rows, width, sums.data());
}

}  // namespace evictlab::core
