#pragma once

#include <cstdint>
#include <span>

namespace evictlab::core {

/// An IEEE 754 binary16 number as it is stored; arithmetic happens in float.
struct Half {
  std::uint16_t bits = 0;
  friend bool operator==(Half, Half) = default;
};

/// A bfloat16 number (the upper half of a float) as it is stored.
struct BFloat16 {
  std::uint16_t bits = 0;
  friend bool operator==(BFloat16, BFloat16) = default;
};

/// One value, exactly (every half is a float).
float to_float(Half value);
float to_float(BFloat16 value);
/// Rounds to the nearest half, ties to even; overflow gives infinity, NaN stays NaN.
Half to_half(float value);

/// out[i] = in[i] * factor. Sizes must be equal. The fastest instruction set of the machine is chosen
/// at run time; the result does not depend on the choice.
void to_float(std::span<const Half> in, std::span<float> out, float factor = 1.0F);
void to_float(std::span<const BFloat16> in, std::span<float> out);
/// out[i] = the half nearest to in[i] * factor, ties to even. Sizes must be equal.
void to_half(std::span<const float> in, std::span<Half> out, float factor = 1.0F);

}  // namespace evictlab::core
