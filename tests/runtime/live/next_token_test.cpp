#include "runtime/live/next_token.hpp"

#include <cmath>
#include <vector>

namespace evictlab::runtime {
namespace {

// Logits ln 1, ln 2, ln 5 are the probabilities 1/8, 2/8, 5/8.
const std::vector<float> kOneTwoFive{0.0F, std::log(2.0F), std::log(5.0F)};

TEST(NextToken, LogProbabilityIsThatOfTheSoftmax) {
  EXPECT_NEAR(log_probability(kOneTwoFive, 0), std::log(1.0 / 8), 1e-6);
  EXPECT_NEAR(log_probability(kOneTwoFive, 2), std::log(5.0 / 8), 1e-6);
}

TEST(NextToken, DivergenceIsTheSumOfProbabilityTimesLogRatio) {
  const std::vector<float> even{3.0F, 3.0F, 3.0F};
  const double expected = 1.0 / 8 * std::log(3.0 / 8) + 2.0 / 8 * std::log(6.0 / 8) + 5.0 / 8 * std::log(15.0 / 8);
  EXPECT_NEAR(kl_divergence(kOneTwoFive, even), expected, 1e-6);
}

TEST(NextToken, AreThoseOfTheStandardLibrarysExponentialToRounding) {
  std::vector<float> reference;
  std::vector<float> logits;
  for (int i = 0; i < 1003; ++i) {  // no multiple of a vector's length
    reference.push_back(static_cast<float>((i * 37) % 211) / 5.0F - 30.0F);
    logits.push_back(reference.back() + static_cast<float>((i * 53) % 97) / 20.0F);
  }
  reference[7] = -2000.0F;  // a probability that no double can hold
  const auto log_sum = [](const std::vector<float>& of) {
    double sum = 0.0;
    for (const float logit : of) sum += std::exp(static_cast<double>(logit));
    return std::log(sum);
  };
  EXPECT_NEAR(log_probability(logits, 5), static_cast<double>(logits[5]) - log_sum(logits), 1e-12);
  double expected = 0.0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const double p = static_cast<double>(reference[i]) - log_sum(reference);
    expected += std::exp(p) * (p - (static_cast<double>(logits[i]) - log_sum(logits)));
  }
  EXPECT_NEAR(kl_divergence(reference, logits), expected, 1e-12);
}

TEST(NextToken, DivergenceFromItselfIsZeroExactly) { EXPECT_EQ(kl_divergence(kOneTwoFive, kOneTwoFive), 0.0); }

TEST(NextToken, AShiftOfAllLogitsChangesNothing) {
  const std::vector<float> shifted{1000.0F, 1000.0F, 1000.0F};
  EXPECT_NEAR(log_probability(shifted, 1), std::log(1.0 / 3), 1e-9);
}

TEST(NextToken, OfEqualLogitsTheLowestTokenIsTheLargest) {
  EXPECT_EQ(largest_logit(std::vector<float>{1.0F, 4.0F, 4.0F}), 1U);
}

}  // namespace
}  // namespace evictlab::runtime
