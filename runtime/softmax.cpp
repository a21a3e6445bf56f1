#include "runtime/softmax.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "runtime/fixed_order_sum.hpp"

namespace evictlab::runtime {
namespace {

constexpr float kSmallestExponent = -86.0F;

/// e^x within 2^-22 of its value, for x in [-86, 0]: x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor
/// polynomial of degree 6, times 2^n by adding n to the exponent's bits. Written out, and free of branches,
/// so that compilers turn loops of it into vector code that gives the same bits everywhere.
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

}  // namespace

void softmax(float* row, Index visible, Index width, float scale) {
  const float largest = Eigen::Map<const Eigen::ArrayXf>(row, visible).maxCoeff();
  // Whole blocks: what lies behind `visible` is overwritten below.
  const Index end = softmax_padded(visible);
  std::fill(row + visible, row + end, largest);
  Eigen::Map<Eigen::ArrayXf> exponents(row, end);
  exponents = ((exponents - largest) * scale).max(kSmallestExponent);
  for (Index i = 0; i < end; ++i) row[i] = exponential(row[i]);
  const auto factor = static_cast<float>(1.0 / fixed_order_sum(visible, [row](Index i) { return row[i]; }));
  for (Index i = 0; i < end; ++i) row[i] *= factor;
  std::fill(row + visible, row + std::max(end, width), 0.0F);
}

}  // namespace evictlab::runtime
