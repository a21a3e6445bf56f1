#include "results/statistics.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

namespace evictlab::results {
namespace {

TEST(Statistics, QuantileIsLinearBetweenOrderStatistics) {
  const std::vector<double> values{40, 10, 30, 20};  // sorted 10 20 30 40, ranks 0..3
  EXPECT_EQ(quantile(values, 0), 10);
  EXPECT_EQ(quantile(values, 1), 40);
  EXPECT_EQ(quantile(values, 0.5), 25);
  EXPECT_DOUBLE_EQ(quantile(values, 0.1), 13);  // rank .3
  EXPECT_EQ(quantile(std::vector{7.0}, 0.3), 7);
  EXPECT_THROW(quantile({}, 0.5), std::invalid_argument);
  EXPECT_THROW(quantile(values, 1.5), std::invalid_argument);
}

TEST(Statistics, MeanOfNothingIsRefused) {
  EXPECT_EQ(mean(std::vector{1.0, 2.0, 6.0}), 3);
  EXPECT_THROW(mean({}), std::invalid_argument);
  EXPECT_THROW(bootstrap_mean({}), std::invalid_argument);
}

TEST(Statistics, BootstrapIsRepeatableAndFollowsItsSeed) {
  const std::vector<double> values{1, 2, 4, 8, 16};
  const Interval first = bootstrap_mean(values, {.seed = 5});
  const Interval again = bootstrap_mean(values, {.seed = 5});
  const Interval other = bootstrap_mean(values, {.seed = 6});
  EXPECT_EQ(first.low, again.low);
  EXPECT_EQ(first.high, again.high);
  EXPECT_TRUE(first.low != other.low || first.high != other.high);
}

TEST(Statistics, BootstrapIntervalIsAsWideAsTheNormalApproximationForManyValues) {
  // 400 draws of variance s^2: the 95 % interval of the mean is about mean +- 1.96 s / 20.
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal(10, 2);
  std::vector<double> values(400);
  for (double& x : values) x = normal(random);
  const double center = mean(values);
  double variance = 0;
  for (const double x : values) variance += (x - center) * (x - center) / 400;
  const double half_width = 1.96 * std::sqrt(variance) / 20;
  const Interval interval = bootstrap_mean(values);
  EXPECT_DOUBLE_EQ(interval.mean, center);
  EXPECT_NEAR(interval.lower(), center - half_width, 0.1 * half_width);
  EXPECT_NEAR(interval.upper(), center + half_width, 0.1 * half_width);
}

TEST(Statistics, BootstrapDrawsEveryValueEquallyOften) {
  // With values 0 and 1 and two draws, the resampled mean is 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4.
  const std::vector<double> values{0, 1};
  EXPECT_EQ(bootstrap_mean(values, {.confidence = 0.95}).low, 0);
  EXPECT_EQ(bootstrap_mean(values, {.confidence = 0.95}).high, 1);
  const Interval middle = bootstrap_mean(values, {.confidence = 0.4});  // quantiles .3 and .7 lie in the middle half
  EXPECT_EQ(middle.low, 0.5);
  EXPECT_EQ(middle.high, 0.5);
}

TEST(Statistics, OneValueGivesAnIntervalOfNoWidth) {
  const Interval interval = bootstrap_mean(std::vector{4.5});
  EXPECT_FALSE(interval.low);
  EXPECT_FALSE(interval.high);
  EXPECT_FALSE(bootstrap_difference(std::vector{4.5}, std::vector{1.0, 2.0}).low);
}

TEST(Statistics, PairedDifferencesAreNarrowWherePromptsDifferMoreThanPolicies) {
  // b = a - 0.1 on prompts from 0 to 9: the difference is known exactly though each mean is not.
  std::vector<double> a(10);
  std::vector<double> b(10);
  for (std::size_t i = 0; i < a.size(); ++i) {
    a[i] = static_cast<double>(i);
    b[i] = a[i] - 0.125;
  }
  const Interval difference = bootstrap_paired_difference(a, b);
  EXPECT_EQ(difference.low, 0.125);
  EXPECT_EQ(difference.high, 0.125);
  EXPECT_GT(bootstrap_mean(a).upper() - bootstrap_mean(a).lower(), 2);
  b.pop_back();
  EXPECT_THROW(bootstrap_paired_difference(a, b), std::invalid_argument);
}

}  // namespace
}  // namespace evictlab::results
