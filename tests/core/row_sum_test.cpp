#include "core/row_sum.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace evictlab::core {
namespace {

std::vector<Half> halves_of(const std::vector<float>& values) {
  std::vector<Half> halves(values.size());
  to_half(values, halves);
  return halves;
}

std::vector<float> probabilities(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = std::ldexp(static_cast<float>(random() % 1024), -static_cast<int>(random() % 24));
  return values;
}

/// Calls `check` with each implementation that this machine can run.
template <typename Element, typename Check>
void with_each(const Check& check) {
  for (const RowSumKernels<Element>& kernels : row_sum_kernels<Element>()) {
    SCOPED_TRACE(kernels.name);
    if (kernels.supported) check(kernels);
  }
}

float summed_value_of(Half half) { return to_float(half); }
float summed_value_of(float value) { return value; }

/// The sum is right to within the error that is promised, and the same with every instruction set.
template <typename Element>
void expect_sum(const std::vector<Element>& row) {
  double sum = 0.0;
  float largest = 0.0F;
  for (const Element element : row) {
    sum += static_cast<double>(summed_value_of(element));
    largest = std::max(largest, summed_value_of(element));
  }
  const double first = row_sum(std::span<const Element>(row)).sum;
  EXPECT_LE(std::abs(first - sum), kRowSumError * sum);
  with_each<Element>([&](const RowSumKernels<Element>& kernels) {
    const RowSum found = kernels.sum(row);
    EXPECT_TRUE(found.regular);
    EXPECT_EQ(found.sum, first);
    EXPECT_EQ(found.largest, largest);
  });
}

TEST(RowSum, IsRightAndTheSameWithEveryInstructionSetAtAnyLength) {
  for (const std::size_t count : {0U, 1U, 15U, 31U, 32U, 33U, 100U, 4095U, 4096U, 4097U, 20000U}) {
    SCOPED_TRACE(count);
    std::vector<float> row = probabilities(count, 3);
    expect_sum(halves_of(row));
    for (float& value : row) value *= 0.1F;
    expect_sum(row);
  }
}

TEST(RowSum, SmallValuesAfterALargeOneAreNotLost) {
  // In one sum of floats, 1 + 100000 * 2^-25 would be 1.
  std::vector<float> row(100'000, 0x1p-25F);
  row[0] = 1.0F;
  expect_sum(row);
}

template <typename Element>
void expect_odd_values_found(std::vector<Element> row, Element odd, bool finite) {
  const std::vector<Element> plain = row;
  for (std::size_t place = 0; place < row.size(); ++place) {
    row[place] = odd;
    with_each<Element>([&](const RowSumKernels<Element>& kernels) {
      EXPECT_FALSE(kernels.sum(row).regular) << place;
      EXPECT_EQ(kernels.finite(row), finite) << place;
      EXPECT_TRUE(kernels.sum(plain).regular && kernels.finite(plain));
    });
    row[place] = plain[place];
  }
}

TEST(RowSum, AValueThatIsNegativeOrNotFiniteIsFoundAtAnyPlace) {
  const std::vector<float> row = probabilities(37, 5);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float odd : {-1.0F, -0.0F, -0x1p-24F}) {
    expect_odd_values_found<float>(row, odd, true);
    expect_odd_values_found<Half>(halves_of(row), to_half(odd), true);
  }
  for (const float odd : {infinity, -infinity, std::nanf(""), -std::nanf("")}) {
    expect_odd_values_found<float>(row, odd, false);
    expect_odd_values_found<Half>(halves_of(row), to_half(odd), false);
  }
}

TEST(RowSum, ANegativeZeroDoesNotSpoilTheSum) {
  std::vector<float> row(40, 0.5F);
  row[20] = -0.0F;
  EXPECT_EQ(row_sum(std::span<const float>(row)).sum, 19.5);
}

}  // namespace
}  // namespace evictlab::core
