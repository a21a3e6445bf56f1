#include "core/row_kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

namespace evictlab::core {
namespace {

using Doubles = std::vector<double>;

double kernel_value_of(Half stored) { return static_cast<double>(to_float(stored)); }
double kernel_value_of(float stored) { return static_cast<double>(stored); }

// Weights as they are stored: over all magnitudes, subnormal halves and zeros among them.
void draw(std::mt19937& random, Half& weight) {
  const auto bits = static_cast<std::uint32_t>(random());
  weight.bits = static_cast<std::uint16_t>(bits % 5 == 0 ? bits % 7 : bits % 0x7800);
}
void draw(std::mt19937& random, float& weight) {
  const auto bits = static_cast<std::uint32_t>(random());
  weight = bits % 5 == 0 ? 0.0F : std::exp(-static_cast<float>(bits % 100'000) / 4000.0F);
}

template <typename Element>
struct Stored {
  Stored(std::size_t rows, std::size_t columns, std::size_t stride, unsigned seed) : elements(rows * stride + 1) {
    std::mt19937 random(seed);
    for (Element& element : elements) draw(random, element);
    view = {elements.data() + 1, stride, rows, columns};  // not aligned to anything
  }
  double at(std::size_t row, std::size_t column) const { return kernel_value_of(view.first[row * view.stride + column]); }

  std::vector<Element> elements;
  StoredRows<Element> view;
};

// What is spelled out in row_kernels.hpp, of the elements as stored.
template <typename Element>
struct Twin {
  Doubles sums, deviations, squares, logarithms;
  Twin(const Stored<Element>& stored, float factor, float offset) {
    for (std::size_t j = 0; j < stored.view.columns; ++j) {
      double sum = 1.0;  // what the kernels find is added to
      double deviation = 1.0;
      double square = 1.0;
      double logarithm = 1.0;
      float four = 0.0F;
      for (std::size_t r = 0; r < stored.view.rows; ++r) {
        const double difference = stored.at(r, j) - stored.at(0, j);
        sum += stored.at(r, j);
        deviation += difference;
        square = std::fma(difference, difference, square);
        const auto weight = static_cast<float>(stored.at(r, j));
        four = std::fma(weight, natural_logarithm(std::fma(weight, factor, offset)), four);
        if (r % 4 != 3 && r + 1 != stored.view.rows) continue;
        logarithm += static_cast<double>(four * factor);
        four = 0.0F;
      }
      sums.push_back(sum);
      deviations.push_back(deviation);
      squares.push_back(square);
      logarithms.push_back(logarithm);
    }
  }
};

template <typename Element>
class RowKernelsOf : public ::testing::Test {};
using Elements = ::testing::Types<Half, float>;
TYPED_TEST_SUITE(RowKernelsOf, Elements);

TYPED_TEST(RowKernelsOf, AllImplementationsGiveTheBitsOfAPlainLoop) {
  for (const std::size_t rows : {1U, 2U, 3U, 7U, 8U, 12U, 31U, 32U}) {
    for (const std::size_t columns : {1U, 3U, 4U, 7U, 8U, 15U, 16U, 31U, 33U, 100U, 2048U}) {
      for (const float factor : {1.0F, 0x1p-15F}) {
        const Stored<TypeParam> stored(rows, columns, columns + rows % 5, 1);
        const Twin<TypeParam> twin(stored, factor, 1e-10F);
        for (const RowKernels<TypeParam>& kernels : row_kernels<TypeParam>()) {
          if (!kernels.supported) continue;
          const std::string what =
              std::string(kernels.name) + " " + std::to_string(rows) + "x" + std::to_string(columns);
          Doubles sums(columns + 1, 1.0);  // one more, which must not be touched
          kernels.sums(stored.view, sums.data());
          Doubles deviations(columns + 1, 1.0);
          Doubles squares(columns + 1, 1.0);
          kernels.deviations(stored.view, deviations.data(), squares.data());
          Doubles logarithms(columns + 1, 1.0);
          kernels.logarithms(stored.view, factor, 1e-10F, logarithms.data());
          for (Doubles* result : {&sums, &deviations, &squares, &logarithms}) {
            EXPECT_EQ(result->back(), 1.0) << what;
            result->pop_back();
          }
          ASSERT_EQ(sums, twin.sums) << what;
          ASSERT_EQ(deviations, twin.deviations) << what;
          ASSERT_EQ(squares, twin.squares) << what;
          ASSERT_EQ(logarithms, twin.logarithms) << what;
        }
      }
    }
  }
}

TYPED_TEST(RowKernelsOf, TheLastOneRunsEverywhere) { EXPECT_TRUE(row_kernels<TypeParam>().back().supported); }

// More columns than a kernel takes at once.
TYPED_TEST(RowKernelsOf, LongRowsAreSummedAsDefined) {
  const std::size_t rows = 9;
  const std::size_t columns = 2 * kColumnsAtOnce + 37;
  const Stored<TypeParam> stored(rows, columns, columns + 3, 2);
  for (const float factor : {1.0F, 0x1p-15F}) {
    const auto scale = static_cast<double>(factor);
    Doubles sums(columns, 0.5);
    add_column_sums(stored.view, scale, sums);
    Doubles means(columns);
    Doubles variances(columns);
    column_moments(stored.view, scale, means, variances);
    Doubles logarithms(columns, 0.5);
    add_column_logarithms(stored.view, factor, 1e-10F, logarithms);
    for (std::size_t j = 0; j < columns; ++j) {
      double sum = 0.0;
      double entropy = 0.0;
      for (std::size_t r = 0; r < rows; ++r) {
        const double weight = stored.at(r, j) * scale;
        sum += weight;
        entropy += weight * std::log(weight + 1e-10);
      }
      const double mean = sum / rows;
      double variance = 0.0;
      for (std::size_t r = 0; r < rows; ++r) {
        variance += (stored.at(r, j) * scale - mean) * (stored.at(r, j) * scale - mean) / (rows - 1);
      }
      ASSERT_NEAR(sums[j], 0.5 + sum, 1e-14 * (1 + sum));
      ASSERT_NEAR(means[j], mean, 1e-14 * mean);
      ASSERT_NEAR(variances[j], variance, 1e-12 * variance);
      ASSERT_NEAR(logarithms[j], 0.5 + entropy, 1e-6 * (1 + sum + std::abs(entropy)));
    }
  }
}

// Columns 0.1, 0.1, 0.1 (as a half and as a float, neither of which is a third of anything) and 0, 1, 2: variance 0
// and 1.
TYPED_TEST(RowKernelsOf, AColumnThatNeverChangesHasNoVariance) {
  std::vector<TypeParam> stored;
  for (const float value : {0.1F, 0.0F, 0.1F, 1.0F, 0.1F, 2.0F}) {
    if constexpr (std::is_same_v<TypeParam, Half>) {
      stored.push_back(to_half(value));
    } else {
      stored.push_back(value);
    }
  }
  Doubles means(2);
  Doubles variances(2);
  column_moments(StoredRows<TypeParam>{stored.data(), 2, 3, 2}, 1.0, means, variances);
  EXPECT_EQ(means, (Doubles{kernel_value_of(stored[0]), 1.0}));
  EXPECT_EQ(variances, (Doubles{0.0, 1.0}));
  column_moments(StoredRows<TypeParam>{stored.data() + 2, 2, 1, 2}, 1.0, means, variances);  // one row
  EXPECT_EQ(means, (Doubles{kernel_value_of(stored[0]), 1.0}));
  EXPECT_EQ(variances, (Doubles{0.0, 0.0}));
}

TEST(NaturalLogarithm, IsWithinItsErrorForAllMagnitudes) {
  std::mt19937 random(3);
  std::uniform_int_distribution<std::uint32_t> bits(std::bit_cast<std::uint32_t>(std::numeric_limits<float>::min()),
                                                    std::bit_cast<std::uint32_t>(std::numeric_limits<float>::max()));
  std::vector<float> values = {std::numeric_limits<float>::min(), std::numeric_limits<float>::max(), 1.0F,
                               std::nextafter(1.0F, 0.0F),        std::nextafter(1.0F, 2.0F),        1e-10F};
  for (int i = 0; i < 300'000; ++i) values.push_back(std::bit_cast<float>(bits(random)));
  for (int i = 0; i < 300'000; ++i) values.push_back(static_cast<float>(i + 1) * 1e-5F);  // around 1 as well
  for (const float value : values) {
    const double exact = std::log(static_cast<double>(value));
    ASSERT_NEAR(natural_logarithm(value), exact, 0x1p-22 * std::max(1.0, std::abs(exact))) << value;
  }
}

}  // namespace
}  // namespace evictlab::core
