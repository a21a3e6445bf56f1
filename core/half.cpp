#include "core/half.hpp"

#include <immintrin.h>

#include <bit>
#include <cstddef>

#include "core/cpu.hpp"
#include "core/half_kernels.hpp"

namespace evictlab::core {

float to_float(Half value) {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16U;
  const std::uint32_t exponent = (value.bits >> 10U) & 0x1FU;
  const std::uint32_t fraction = value.bits & 0x3FFU;
  if (exponent == 0) {  // zero or subnormal: a multiple of 2^-24, exact in float
    const float magnitude = static_cast<float>(fraction) * 0x1p-24F;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  if (exponent == 0x1F) {  // infinity, or a NaN that becomes quiet as the hardware makes it
    const std::uint32_t quiet = fraction == 0 ? 0U : 0x400000U;
    return std::bit_cast<float>(sign | 0x7F800000U | quiet | (fraction << 13U));
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23U) | (fraction << 13U));
}

float to_float(BFloat16 value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16U); }

Half to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16U) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  std::uint32_t half = 0;
  if (magnitude > 0x7F800000U) {  // NaN
    half = 0x7E00U | ((magnitude >> 13U) & 0x3FFU);
  } else if (magnitude >= 0x477FF000U) {  // 65520 is half way to 65536 and rounds there: infinity
    half = 0x7C00U;
  } else if (magnitude < 0x38800000U) {
    // Below 2^-14 the result is a multiple of 2^-24. Floats in [0.5, 1) have exactly that spacing, so
    // adding 0.5 rounds to it, ties to even, and leaves the multiple in the low bits.
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5F) - std::bit_cast<std::uint32_t>(0.5F);
  } else {
    const std::uint32_t odd = (magnitude >> 13U) & 1U;
    half = (magnitude + 0xFFFU + odd - (112U << 23U)) >> 13U;
  }
  return Half{static_cast<std::uint16_t>(sign | half)};
}

namespace {

void to_float_portable(std::span<const Half> in, std::span<float> out, float factor) {
  for (std::size_t i = 0; i < in.size(); ++i) out[i] = to_float(in[i]) * factor;
}

void to_half_portable(std::span<const float> in, std::span<Half> out, float factor) {
  for (std::size_t i = 0; i < in.size(); ++i) out[i] = to_half(in[i] * factor);
}

__attribute__((target("avx,f16c"))) void to_float_f16c(std::span<const Half> in, std::span<float> out, float factor) {
  const __m256 factors = _mm256_set1_ps(factor);
  std::size_t i = 0;
  for (; i + 8 <= in.size(); i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in.data() + i));
    _mm256_storeu_ps(out.data() + i, _mm256_mul_ps(_mm256_cvtph_ps(halves), factors));
  }
  to_float_portable(in.subspan(i), out.subspan(i), factor);
}

__attribute__((target("avx,f16c"))) void to_half_f16c(std::span<const float> in, std::span<Half> out, float factor) {
  const __m256 factors = _mm256_set1_ps(factor);
  std::size_t i = 0;
  for (; i + 8 <= in.size(); i += 8) {
    const __m256 products = _mm256_mul_ps(_mm256_loadu_ps(in.data() + i), factors);
    const __m128i halves = _mm256_cvtps_ph(products, _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.data() + i), halves);
  }
  to_half_portable(in.subspan(i), out.subspan(i), factor);
}

// The first min(count, 16) lanes.
__mmask16 lanes(std::size_t count) { return static_cast<__mmask16>(count >= 16 ? 0xFFFFU : (1U << count) - 1U); }

__attribute__((target("avx512f,avx512bw,avx512vl"))) void to_float_avx512(std::span<const Half> in,
                                                                          std::span<float> out, float factor) {
  const __m512 factors = _mm512_set1_ps(factor);
  for (std::size_t i = 0; i < in.size(); i += 16) {
    const __mmask16 mask = lanes(in.size() - i);
    const __m512 floats = _mm512_maskz_cvtph_ps(mask, _mm256_maskz_loadu_epi16(mask, in.data() + i));
    _mm512_mask_storeu_ps(out.data() + i, mask, _mm512_mul_ps(floats, factors));
  }
}

__attribute__((target("avx512f,avx512bw,avx512vl"))) void to_half_avx512(std::span<const float> in, std::span<Half> out,
                                                                         float factor) {
  const __m512 factors = _mm512_set1_ps(factor);
  for (std::size_t i = 0; i < in.size(); i += 16) {
    const __mmask16 mask = lanes(in.size() - i);
    const __m512 products = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, in.data() + i), factors);
    const __m256i halves = _mm512_maskz_cvtps_ph(mask, products, _MM_FROUND_TO_NEAREST_INT);
    _mm256_mask_storeu_epi16(out.data() + i, mask, halves);
  }
}

const HalfKernels& fastest_conversions() {
  static const HalfKernels& chosen = []() -> const HalfKernels& {
    const std::span<const HalfKernels> all = half_kernels();
    for (const HalfKernels& kernels : all) {
      if (kernels.supported) return kernels;
    }
    return all.back();
  }();
  return chosen;
}

}  // namespace

std::span<const HalfKernels> half_kernels() {
  static const HalfKernels kAll[] = {
      {"avx512", has_avx512(), to_float_avx512, to_half_avx512},
      {"f16c", has_f16c(), to_float_f16c, to_half_f16c},
      {"portable", true, to_float_portable, to_half_portable},
  };
  return kAll;
}

void to_float(std::span<const Half> in, std::span<float> out, float factor) {
  fastest_conversions().to_float(in, out, factor);
}

void to_float(std::span<const BFloat16> in, std::span<float> out) {
  for (std::size_t i = 0; i < in.size(); ++i) out[i] = to_float(in[i]);
}

void to_half(std::span<const float> in, std::span<Half> out, float factor) {
  fastest_conversions().to_half(in, out, factor);
}

}  // namespace evictlab::core
