#include "trace/synthetic_attention.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/half.hpp"
#include "core/random.hpp"

namespace evictlab::trace {
namespace {

// The sum of the softmax rows, one row after the other.
std::vector<double> naive_mass(const std::vector<double>& logits, double scale, Index sliding_window, Index begin,
                               Index end) {
  std::vector<double> mass(static_cast<std::size_t>(end));
  for (Index t = begin; t < end; ++t) {
    const Index first = sliding_window == 0 ? 0 : std::max<Index>(0, t - sliding_window + 1);
    const double largest = *std::max_element(logits.begin() + first, logits.begin() + t + 1);
    std::vector<double> row;
    double sum = 0.0;
    for (Index j = first; j <= t; ++j) {
      row.push_back(std::exp(scale * (logits[static_cast<std::size_t>(j)] - largest)));
      sum += row.back();
    }
    for (Index j = first; j <= t; ++j)
      mass[static_cast<std::size_t>(j)] += row[static_cast<std::size_t>(j - first)] / sum;
  }
  return mass;
}

void expect_agrees(const std::vector<double>& logits, double scale) {
  const auto positions = static_cast<Index>(logits.size());
  for (const Index sliding_window : {0, 1, 2, 7, 100, 599, 600, 1000}) {
    for (const auto& [begin, end] :
         {std::pair<Index, Index>{0, positions}, {0, 1}, {positions - 40, positions}, {positions / 3, positions / 2}}) {
      SCOPED_TRACE("sliding window " + std::to_string(sliding_window) + ", queries " + std::to_string(begin) + " to " +
                   std::to_string(end));
      const std::vector<double> asked(logits.begin(), logits.begin() + end);
      const std::vector<double> mass = attention_mass(asked, scale, sliding_window, begin, end);
      const std::vector<double> expected = naive_mass(asked, scale, sliding_window, begin, end);
      ASSERT_EQ(mass.size(), expected.size());
      for (std::size_t j = 0; j < mass.size(); ++j) {
        // Below 2^-1000 rows are subnormal, and rounded accordingly.
        ASSERT_NEAR(mass[j], expected[j], 1e-12 * expected[j] + 0x1p-1000) << j;
      }
    }
  }
}

constexpr std::size_t kPositions = 600;

TEST(SyntheticAttention, QueriesThatPreferNothingPayAlike) {
  expect_agrees(std::vector<double>(kPositions, 0.0), 0.25);
}

TEST(SyntheticAttention, AFewPreferredPositionsWithAnyStrength) {
  for (const double logit : {0.5, 6.0, 50.0, 700.0, 2000.0}) {
    std::vector<double> logits(kPositions, 0.0);
    for (const std::size_t j : {0, 3, 4, 250, 251, 598}) logits[j] = logit;
    expect_agrees(logits, 1.0);
  }
}

TEST(SyntheticAttention, GeometricDecayThatLeavesDoublesRange) {
  // From 0.9999 to 0.01 per position: over 600 positions down to 10^-1200. As queries and keys are: a float times
  // positions in units of 1/256.
  for (const double ratio : {0.9999, 0.9, 0.01}) {
    const double query = static_cast<double>(static_cast<float>(-std::log(ratio) * 256.0 * 4.0));
    std::vector<double> logits;
    for (std::size_t j = 0; j < kPositions; ++j) logits.push_back(query * static_cast<double>(j) / 256.0);
    expect_agrees(logits, 0.25);
    std::ranges::reverse(logits);
    expect_agrees(logits, 0.25);
  }
}

TEST(SyntheticAttention, DecayInTheStepsOfHalfPrecisionKeys) {
  // Positions around 100000 are 32 apart in half precision's eleven bits (64 units of 1/256 each for two of them).
  std::vector<double> logits;
  for (std::size_t j = 0; j < kPositions; ++j) {
    const float key = static_cast<float>(100000 + j) / 256.0F;
    logits.push_back(108.0 * static_cast<double>(core::to_float(core::to_half(key))));
  }
  ASSERT_EQ(logits[70], logits[80]);
  expect_agrees(logits, 0.25);
}

TEST(SyntheticAttention, LogitsInNoOrder) {
  core::SplitMix64 random(3);
  std::vector<double> logits;
  for (std::size_t j = 0; j < kPositions; ++j) logits.push_back(2000.0 * (random.uniform() - 0.5));
  expect_agrees(logits, 0.01);
  expect_agrees(logits, 1.0);
}

TEST(SyntheticAttention, MassOverALongPromptStaysNormalised) {
  // 100000 queries pay 1 each, whatever they look at: 0.9 per position is e^-10536 from end to end.
  constexpr Index kLong = 100000;
  std::vector<double> logits(static_cast<std::size_t>(kLong));
  for (std::size_t j = 0; j < logits.size(); ++j) logits[j] = -std::log(0.9) * static_cast<double>(j);
  for (const Index sliding_window : {Index{0}, Index{4096}}) {
    double sum = 0.0;
    for (const double mass : attention_mass(logits, 1.0, sliding_window, 0, kLong)) sum += mass;
    EXPECT_NEAR(sum, 1e5, 1e-6);
  }
}

}  // namespace
}  // namespace evictlab::trace
