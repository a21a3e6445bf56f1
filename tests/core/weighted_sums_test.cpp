#include "core/weighted_sums.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <random>
#include <span>
#include <stdexcept>
#include <vector>

namespace evictlab::core {
namespace {

struct SumsCase {
  std::size_t positions;
  std::size_t rows;
  std::size_t width;
  std::vector<std::vector<float>> rows_of_positions;
  std::vector<const float*> weights;
  std::vector<double> values;

  SumsCase(std::mt19937_64& random, std::size_t positions_in, std::size_t rows_in, std::size_t width_in)
      : positions(positions_in), rows(rows_in), width(width_in), values(positions_in * width_in) {
    std::normal_distribution<float> normal;
    for (std::size_t p = 0; p < positions; ++p) {
      for (float& weight : rows_of_positions.emplace_back(rows)) weight = normal(random);
    }
    for (const auto& row : rows_of_positions) weights.push_back(row.data());
    for (double& value : values) value = double{normal(random)};
  }
};

TEST(WeightedSums, AreTheSameBitsByEveryKernelAndThoseOfPlainLoops) {
  std::mt19937_64 random(1);
  for (const auto& [positions, rows, width] :
       {std::array<std::size_t, 3>{1, 8, 6}, {200, 24, 18}, {64, 16, 66}, {65, 40, 12}}) {
    const SumsCase made(random, positions, rows, width);
    std::vector<double> expected(rows * width, 0.5);
    for (std::size_t c = 0; c < width; ++c) {
      for (std::size_t t = 0; t < rows; ++t) {
        double& sum = expected[c * rows + t];
        for (std::size_t p = 0; p < positions; ++p) {
          sum = std::fma(double{made.weights[p][t]}, made.values[p * width + c], sum);
        }
      }
    }
    for (const WeightedSumKernel& kernel : weighted_sum_kernels()) {
      if (!kernel.supported) continue;
      std::vector<double> sums(rows * width, 0.5);
      kernel.add(made.weights, made.values.data(), rows, width, sums.data());
      EXPECT_EQ(sums, expected) << kernel.name;
    }
  }
}

TEST(WeightedSums, AreTheSameBitsWhereverTheListIsCut) {
  std::mt19937_64 random(2);
  const SumsCase made(random, 150, 8, 6);
  std::vector<double> whole(8 * 6, 0.0);
  add_weighted_values(made.weights, made.values, 8, 6, whole);
  for (const std::size_t cut : {1, 63, 64, 100}) {
    std::vector<double> parts(8 * 6, 0.0);
    const std::span weights(made.weights);
    const std::span values(made.values);
    add_weighted_values(weights.first(cut), values.first(cut * 6), 8, 6, parts);
    add_weighted_values(weights.subspan(cut), values.subspan(cut * 6), 8, 6, parts);
    EXPECT_EQ(parts, whole) << cut;
  }
}

TEST(WeightedSums, RefuseSizesThatContradict) {
  std::mt19937_64 random(3);
  const SumsCase made(random, 2, 8, 6);
  std::vector<double> sums(8 * 6, 0.0);
  EXPECT_THROW(add_weighted_values(made.weights, made.values, 7, 6, sums), std::invalid_argument);
  EXPECT_THROW(add_weighted_values(made.weights, std::span(made.values).first(6), 8, 6, sums), std::invalid_argument);
  EXPECT_THROW(add_weighted_values(made.weights, made.values, 8, 6, std::span(sums).first(40)), std::invalid_argument);
}

}  // namespace
}  // namespace evictlab::core
