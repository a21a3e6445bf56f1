#include "results/rank_correlation.hpp"

#include <cmath>

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace evictlab::results {
namespace {

double correlation(const std::vector<float>& a, const std::vector<float>& b) {
  return spearman(average_ranks(a), average_ranks(b));
}

TEST(RankCorrelation, EqualValuesShareTheMeanOfTheirRanks) {
  EXPECT_EQ(average_ranks(std::vector{3.0F, 7.0F, 3.0F, 0.0F, -0.0F}), (std::vector{2.5, 1.0, 2.5, 4.5, 4.5}));
}

TEST(RankCorrelation, IsOneForTheSameOrderAndMinusOneForTheOpposite) {
  EXPECT_DOUBLE_EQ(correlation({1, 2, 3, 4}, {10, 20, 30, 1000}), 1.0);
  EXPECT_DOUBLE_EQ(correlation({1, 2, 3, 4}, {4, 3, 2, 1}), -1.0);
}

TEST(RankCorrelation, OfAHandWorkedExample) {
  // Ranks 1 2 3 4 5 and 2 5 1 3 4: squared differences 1, 9, 4, 1, 1; rho = 1 - 6 * 16 / (5 * 24).
  EXPECT_NEAR(correlation({50, 40, 30, 20, 10}, {4, 1, 5, 3, 2}), 1.0 - 6.0 * (1 + 9 + 4 + 1 + 1) / 120.0, 1e-12);
}

TEST(RankCorrelation, OfAConstantIsNothing) {
  EXPECT_EQ(correlation({1, 1, 1}, {1, 2, 3}), 0.0);
  EXPECT_EQ(correlation({}, {}), 0.0);
  EXPECT_THROW(correlation({1}, {1, 2}), std::invalid_argument);
}

// Of six pairs one is tied on the left; the other five are in the same order.
TEST(RankCorrelation, TauBLeavesTiesOutOfItsScale) {
  const std::vector<double> a{1, 2, 2, 3};
  const std::vector<double> b{1, 3, 2, 4};
  EXPECT_DOUBLE_EQ(kendall_tau_b(a, b), 5.0 / std::sqrt(5.0 * 6.0));
  EXPECT_DOUBLE_EQ(kendall_tau_b(b, b), 1.0);
}

TEST(RankCorrelation, TauBCountsPairsInTheOppositeOrder) {
  const std::vector<double> a{1, 2, 3, 4, 5};
  const std::vector<double> b{1, 2, 3, 5, 4};
  EXPECT_DOUBLE_EQ(kendall_tau_b(a, b), (9.0 - 1.0) / 10.0);
  EXPECT_DOUBLE_EQ(spearman_of_values(a, b), 0.9);
  EXPECT_EQ(kendall_tau_b(a, std::vector<double>(5, 1.0)), 0.0);
  EXPECT_THROW(kendall_tau_b(a, std::vector<double>(4, 1.0)), std::invalid_argument);
}

}  // namespace
}  // namespace evictlab::results
