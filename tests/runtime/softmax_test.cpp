#include "runtime/softmax.hpp"

#include <cmath>
#include <random>

namespace evictlab::runtime {
namespace {

/// softmax() of the first `visible` of `scores`, up to all of them.
std::vector<float> run_softmax(std::vector<float> scores, Index visible, float scale) {
  const auto width = static_cast<Index>(scores.size());
  scores.resize(static_cast<std::size_t>(softmax_padded(width)), 7.0F);
  softmax(scores.data(), visible, width, scale);
  scores.resize(static_cast<std::size_t>(width));
  return scores;
}

TEST(Softmax, FollowsItsDefinitionForEveryLengthAroundThePadding) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0F, 10.0F);
  for (const Index visible : {1, 2, 15, 16, 17, 31, 33, 500}) {
    std::vector<float> scores(520);
    for (float& score : scores) score = normal(random);
    double sum = 0.0;
    for (Index i = 0; i < visible; ++i) sum += std::exp(0.5 * static_cast<double>(scores[static_cast<std::size_t>(i)]));
    const std::vector<float> rows = run_softmax(scores, visible, 0.5F);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const double expected =
          static_cast<Index>(i) < visible ? std::exp(0.5 * static_cast<double>(scores[i])) / sum : 0.0;
      ASSERT_NEAR(rows[i], expected, 3e-6 * expected) << i << " of " << visible;
    }
  }
}

TEST(Softmax, EveryExponentIsWithinAFewUnitsInTheLastPlace) {
  // Two elements 0 and x: the second is e^x / (1 + e^x).
  for (double x = 0.0; x > -86.0; x -= 0.01) {
    const auto value = static_cast<float>(x);
    const double power = std::exp(static_cast<double>(value));
    ASSERT_NEAR(run_softmax({0.0F, value}, 2, 1.0F)[1], power / (1.0 + power), 4e-7 * power) << x;
  }
}

TEST(Softmax, FarSmallerScoresGetAlmostNothingAndEqualOnesTheSame) {
  const std::vector<float> rows = run_softmax({-1e30F, 5.0F, 5.0F, -std::numeric_limits<float>::infinity()}, 4, 1.0F);
  EXPECT_NEAR(rows[0], 0.0F, 1e-37);
  EXPECT_EQ(rows[1], 0.5F);
  EXPECT_EQ(rows[2], 0.5F);
  EXPECT_NEAR(rows[3], 0.0F, 1e-37);
}

}  // namespace
}  // namespace evictlab::runtime
