#pragma once

#include <bit>
#include <cstdint>
#include <numbers>

// Exponentials and logarithms written out, free of branches and calls, so that compilers turn loops of them into vector
// code, which gives the same bits on every machine.
//
// e^x: x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor polynomial, times 2^n by adding n to the exponent's bits.

namespace evictlab::core {

/// The smallest argument of exponential(float): e^-86 is a normal number.
inline constexpr float kSmallestFloatExponent = -86.0F;
/// e^x within 2^-22 of its value, for x in [-86, 0].
inline float exponential(float x) {
  constexpr float kLog2E = 1.44269504F;
  constexpr float kLn2High = 0.693359375F;  // few bits: n * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4F;
  // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the sum's lowest bits.
  constexpr float kRound = 12582912.0F;
  const float shifted = x * kLog2E + kRound;
  const float n = shifted - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float p = 1.0F / 720.0F;
  p = p * r + 1.0F / 120.0F;
  p = p * r + 1.0F / 24.0F;
  p = p * r + 1.0F / 6.0F;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(p) + (std::bit_cast<std::uint32_t>(shifted) << 23U));
}

/// The smallest argument of exponential(double).
inline constexpr double kSmallestDoubleExponent = -700.0;
/// e^x to within 2^-50 of its value, for x in [-700, 0].
inline double exponential(double x) {
  constexpr double kLog2E = 1.4426950408889634;
  constexpr double kLn2High = 0x1.62e42fee00000p-1;  // few bits: n * kLn2High is exact
  constexpr double kLn2Low = 1.9082149292705877e-10;
  // Adding 1.5 * 2^52 rounds to a whole number and leaves it in the sum's lowest bits.
  constexpr double kRound = 0x1.8p52;
  const double shifted = x * kLog2E + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  return std::bit_cast<double>(std::bit_cast<std::uint64_t>(p) + (std::bit_cast<std::uint64_t>(shifted) << 52U));
}

/// ln(x) to within 2^-50 max(1, |ln(x)|), for normal x > 0; ln(1) = 0 exactly. x = 2^n m with m in [sqrt(1/2),
/// sqrt(2)), ln(m) = 2 atanh(s), s = (m - 1) / (m + 1), by its series up to s^21.
inline double natural_logarithm(double x) {
  constexpr std::uint64_t kMantissa = (std::uint64_t{1} << 52U) - 1;
  constexpr auto kOne = std::bit_cast<std::uint64_t>(1.0);
  constexpr auto kHalfRoot = std::bit_cast<std::uint64_t>(0.7071067811865476);
  constexpr double kToNumber = 0x1p52;  // a double of this exponent has a whole number in its lowest bits
  const std::uint64_t shifted = std::bit_cast<std::uint64_t>(x) + (kOne - kHalfRoot);
  const std::uint64_t exponent = (shifted >> 52U) | std::bit_cast<std::uint64_t>(kToNumber);
  const double n = std::bit_cast<double>(exponent) - (kToNumber + 1023.0);
  const double m = std::bit_cast<double>((shifted & kMantissa) + kHalfRoot);
  const double s = (m - 1.0) / (m + 1.0);
  const double squared = s * s;
  double series = 1.0 / 21.0;
  series = series * squared + 1.0 / 19.0;
  series = series * squared + 1.0 / 17.0;
  series = series * squared + 1.0 / 15.0;
  series = series * squared + 1.0 / 13.0;
  series = series * squared + 1.0 / 11.0;
  series = series * squared + 1.0 / 9.0;
  series = series * squared + 1.0 / 7.0;
  series = series * squared + 1.0 / 5.0;
  series = series * squared + 1.0 / 3.0;
  series = series * squared + 1.0;
  return n * std::numbers::ln2 + 2.0 * s * series;
}

}  // namespace evictlab::core
