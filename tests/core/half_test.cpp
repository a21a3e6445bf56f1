#include "core/half.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/half_kernels.hpp"

namespace evictlab::core {
namespace {

std::uint32_t bits(float value) { return std::bit_cast<std::uint32_t>(value); }

std::vector<Half> every_half() {
  std::vector<Half> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i].bits = static_cast<std::uint16_t>(i);
  return all;
}

// Independent of the implementation: the value from the definition of binary16.
double value_of(Half half) {
  const int sign = (half.bits & 0x8000) != 0 ? -1 : 1;
  const int exponent = (half.bits >> 10) & 31;
  const int fraction = half.bits & 1023;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  if (exponent == 31) return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

// Floats of every kind: random bit patterns, and every half's neighbourhood, where rounding decides.
std::vector<float> tricky_floats() {
  std::mt19937 random(7);
  std::vector<float> floats;
  for (int i = 0; i < 3'000'000; ++i) floats.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  for (const Half half : every_half()) {
    const std::uint32_t exact = bits(to_float(half));
    for (const std::uint32_t offset : {0U, 1U, 0xFFFU, 0x1000U, 0x1001U, 0x1FFFU}) {
      floats.push_back(std::bit_cast<float>(exact + offset));
    }
  }
  return floats;
}

TEST(Half, EveryHalfHasTheValueItsBitsDefine) {
  for (const Half half : every_half()) {
    const double expected = value_of(half);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(to_float(half))) << half.bits;
    } else {
      ASSERT_EQ(to_float(half), expected) << half.bits;
      ASSERT_EQ(std::signbit(to_float(half)), (half.bits & 0x8000) != 0) << half.bits;
    }
  }
}

TEST(Half, EveryHalfSurvivesTheWayToFloatAndBack) {
  for (const Half half : every_half()) {
    if (std::isnan(value_of(half))) {
      ASSERT_TRUE(std::isnan(to_float(to_half(to_float(half))))) << half.bits;
    } else {
      ASSERT_EQ(to_half(to_float(half)), half) << half.bits;
    }
  }
}

TEST(Half, RoundsToTheNearestAndTiesToEven) {
  // Between 1 and 2 halves are 2^-10 apart: 1 + 2^-11 is half way between an even and an odd fraction.
  EXPECT_EQ(to_float(to_half(1.0F + 0x1p-11F)), 1.0F);
  EXPECT_EQ(to_float(to_half(1.0F + 0x1p-11F + 0x1p-23F)), 1.0F + 0x1p-10F);
  EXPECT_EQ(to_float(to_half(1.0F + 3 * 0x1p-11F)), 1.0F + 0x1p-9F);
  // The smallest subnormal is 2^-24; half of it ties to zero, which keeps its sign.
  EXPECT_EQ(to_half(0x1p-25F).bits, 0x0000);
  EXPECT_EQ(to_half(-0x1p-25F).bits, 0x8000);
  EXPECT_EQ(to_half(std::nextafter(0x1p-25F, 1.0F)).bits, 0x0001);
  EXPECT_EQ(to_half(3 * 0x1p-25F).bits, 0x0002);
  // 65504 is the largest half; from 65520 on it is infinity.
  EXPECT_EQ(to_float(to_half(std::nextafter(65520.0F, 0.0F))), 65504.0F);
  EXPECT_EQ(to_float(to_half(65520.0F)), std::numeric_limits<float>::infinity());
  EXPECT_EQ(to_float(to_half(-1e10F)), -std::numeric_limits<float>::infinity());
}

TEST(Half, RoundingErrorIsAtMostHalfAStep) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-70.0F, 70.0F);
  for (int i = 0; i < 100'000; ++i) {
    const float value = std::exp2(uniform(random) / 5.0F);  // 2^-14 .. 2^14: normal halves
    ASSERT_LE(std::abs(to_float(to_half(value)) - value), std::exp2(std::floor(std::log2(value))) * 0x1p-11F) << value;
  }
}

TEST(HalfKernels, AllImplementationsConvertEveryHalfToTheSameBits) {
  const std::vector<Half> halves = every_half();
  for (const HalfKernels& kernels : half_kernels()) {
    if (!kernels.supported) continue;
    for (const float factor : {1.0F, 0x1p-15F, 3.3F}) {
      std::vector<float> floats(halves.size());
      kernels.to_float(halves, floats, factor);
      for (std::size_t i = 0; i < halves.size(); ++i) {
        ASSERT_EQ(bits(floats[i]), bits(to_float(halves[i]) * factor)) << kernels.name << " " << i;
      }
    }
  }
}

TEST(HalfKernels, AllImplementationsConvertTrickyFloatsToTheSameBits) {
  const std::vector<float> floats = tricky_floats();
  for (const HalfKernels& kernels : half_kernels()) {
    if (!kernels.supported) continue;
    for (const float factor : {1.0F, 32768.0F}) {
      std::vector<Half> halves(floats.size());
      kernels.to_half(floats, halves, factor);
      for (std::size_t i = 0; i < floats.size(); ++i) {
        ASSERT_EQ(halves[i].bits, to_half(floats[i] * factor).bits) << kernels.name << " " << bits(floats[i]);
      }
    }
  }
}

TEST(HalfKernels, ConvertEveryShortSizeAndNothingBeyondIt) {
  for (const HalfKernels& kernels : half_kernels()) {
    if (!kernels.supported) continue;
    for (std::size_t size = 0; size <= 70; ++size) {
      std::vector<float> floats(size + 1, 99.0F);
      std::vector<Half> halves(size + 1, Half{0x1234});
      for (std::size_t i = 0; i < size; ++i) floats[i] = static_cast<float>(i) - 20.5F;
      kernels.to_half(std::span(floats).first(size), std::span(halves).first(size), 2.0F);
      std::vector<float> back(size + 1, 99.0F);
      kernels.to_float(std::span(halves).first(size), std::span(back).first(size), 0.5F);
      EXPECT_EQ(back, floats) << kernels.name;
      EXPECT_EQ(halves[size].bits, 0x1234) << kernels.name;
    }
  }
}

TEST(HalfKernels, TheLastOneRunsEverywhere) { EXPECT_TRUE(half_kernels().back().supported); }

TEST(Half, ArraysTakeTheFastestKernelAndAgreeWithSingleValues) {
  const std::vector<float> floats = {0.0F, -1.5F, 0x1p-24F, 1e6F, 0.1F};
  std::vector<Half> halves(floats.size());
  to_half(floats, halves, 0.5F);
  std::vector<float> back(floats.size());
  to_float(halves, back, 2.0F);
  for (std::size_t i = 0; i < floats.size(); ++i) {
    EXPECT_EQ(halves[i], to_half(floats[i] * 0.5F));
    EXPECT_EQ(back[i], to_float(halves[i]) * 2.0F);
  }
}

TEST(BFloat16, IsTheUpperHalfOfAFloat) {
  // 1.0F = 0x3F800000, -2.5F = 0xC0200000; the largest finite bfloat16 is (2 - 2^-7) 2^127.
  const std::vector<BFloat16> in = {{0x3F80}, {0xC020}, {0x0000}, {0x7F7F}, {0x7F80}};
  std::vector<float> out(in.size());
  to_float(in, out);
  EXPECT_EQ(out, (std::vector<float>{1.0F, -2.5F, 0.0F, (2.0F - 0x1p-7F) * 0x1p127F,
                                     std::numeric_limits<float>::infinity()}));
  EXPECT_EQ(to_float(BFloat16{0xC020}), -2.5F);
}

}  // namespace
}  // namespace evictlab::core
