#include "core/select.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

namespace evictlab::core {
namespace {

using Indices = std::vector<std::uint32_t>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kDenormal = std::numeric_limits<float>::denorm_min();

// The definition, spelled out: a stable sort by descending score.
Indices sorted(const std::vector<float>& scores) {
  Indices order(scores.size());
  std::iota(order.begin(), order.end(), 0U);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
  return order;
}

Indices first(Indices order, std::size_t count) {
  order.resize(std::min(count, order.size()));
  return order;
}

Indices ascending(Indices positions) {
  std::sort(positions.begin(), positions.end());
  return positions;
}

void expect_matches_definition(const std::vector<float>& scores) {
  const Indices order = sorted(scores);
  ASSERT_EQ(argsort_descending(scores), order);
  const std::size_t n = scores.size();
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, n / 3, n / 2, n > 0 ? n - 1 : 0, n, n + 7}) {
    ASSERT_EQ(top_ranked(scores, count), first(order, count)) << n << " " << count;
    ASSERT_EQ(top_positions(scores, count), ascending(first(order, count))) << n << " " << count;
  }
}

TEST(Select, OrdersASmallExample) {
  const std::vector<float> scores = {0.5F, -1.0F, 2.0F, 0.5F, -0.0F, 0.0F};
  EXPECT_EQ(argsort_descending(scores), (Indices{2, 0, 3, 4, 5, 1}));
  EXPECT_EQ(top_ranked(scores, 2), (Indices{2, 0}));
  EXPECT_EQ(top_positions(scores, 2), (Indices{0, 2}));
  EXPECT_EQ(top_positions(scores, 3), (Indices{0, 2, 3}));
}

TEST(Select, NothingComesOfNothing) {
  EXPECT_TRUE(argsort_descending({}).empty());
  EXPECT_TRUE(top_ranked({}, 3).empty());
  EXPECT_TRUE(top_positions({}, 3).empty());
}

TEST(Select, MinusZeroEqualsZero) {
  EXPECT_EQ(argsort_descending(std::vector<float>{-0.0F, 0.0F, -0.0F}), (Indices{0, 1, 2}));
  EXPECT_EQ(top_positions(std::vector<float>{-0.0F, 0.0F}, 1), (Indices{0}));
  EXPECT_EQ(argsort_descending(std::vector<float>{-kDenormal, -0.0F, kDenormal}), (Indices{2, 1, 0}));
}

TEST(Select, InfinitiesAndDenormalsHaveTheirPlace) {
  expect_matches_definition({-kInfinity, 1.0F, kInfinity, kDenormal, -kDenormal, 0.0F, -1.0F, kInfinity,
                             std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest(), -kInfinity});
}

TEST(Select, EqualScoresKeepTheirOrder) {
  for (const std::size_t n : {1U, 2U, 511U, 512U, 5000U}) expect_matches_definition(std::vector<float>(n, 0.25F));
}

TEST(Select, AgreesWithAStableSortOnRandomScoresOfEverySize) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const std::size_t n : {0U, 1U, 2U, 3U, 10U, 511U, 512U, 513U, 2048U, 5000U}) {
    std::vector<float> scores(n);
    for (float& score : scores) score = normal(random);
    expect_matches_definition(scores);
  }
}

TEST(Select, AgreesWithAStableSortOnManyTies) {
  std::mt19937 random(4);
  for (const int distinct : {2, 5, 40}) {
    std::uniform_int_distribution<int> pick(-distinct, distinct);
    std::vector<float> scores(5000);
    for (float& score : scores) score = static_cast<float>(pick(random)) * 0.125F;
    expect_matches_definition(scores);
  }
}

TEST(Select, AgreesWithAStableSortOnAnyBits) {
  std::mt19937 random(5);
  std::vector<float> scores;
  while (scores.size() < 5000) {
    const auto score = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isnan(score)) scores.push_back(score);
  }
  expect_matches_definition(scores);
}

// Scores that differ in one digit of eleven bits only take one pass each.
TEST(Select, AgreesWithAStableSortWhenOnlySomeBitsDiffer) {
  std::mt19937 random(6);
  for (const unsigned shift : {0U, 11U, 19U}) {
    std::vector<float> scores(3000);
    for (float& score : scores) {
      score = std::bit_cast<float>(0x3F800000U ^ (static_cast<std::uint32_t>(random() & 0x7FFU) << shift));
      if (std::isnan(score)) score = 0.0F;
    }
    expect_matches_definition(scores);
  }
}

// Where a sample of the scores is taken to tell which are not worth looking at.
TEST(Select, AgreesWithAStableSortOnManyScores) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(-10.0F, 3.0F);
  std::vector<float> scores(40'001);
  for (float& score : scores) score = std::exp(normal(random));
  expect_matches_definition(scores);
  for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = scores[i / 7 * 7];  // as pooling leaves them
  expect_matches_definition(scores);
  const Indices order = sorted(scores);
  for (const std::size_t count : {1U, 30U, 1024U, 8192U}) {
    ASSERT_EQ(top_positions(scores, count), ascending(first(order, count))) << count;
  }
}

// Every sixteenth score is large, so that a sample at equal distances sees only large or only small ones.
TEST(Select, AgreesWithAStableSortOnScoresThatMisleadASample) {
  for (const float other : {100.0F, -100.0F}) {
    std::vector<float> scores(8192);
    for (std::size_t i = 0; i < scores.size(); ++i) {
      scores[i] = (i % 16 == 0 ? 0.0F : other) + static_cast<float>(i * 37 % 101);
    }
    const Indices order = sorted(scores);
    for (const std::size_t count : {10U, 500U, 600U, 1024U, 4000U, 8000U}) {
      ASSERT_EQ(top_positions(scores, count), ascending(first(order, count))) << count;
    }
  }
}

// Against sorting everything.
TEST(CountsOfLargest, EqualsSortingAllNumbersWithTheEarlierListFirst) {
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<std::vector<float>> lists(1 + random() % 4);
    std::vector<std::pair<float, std::size_t>> all;
    for (std::size_t l = 0; l < lists.size(); ++l) {
      lists[l].resize(random() % 12);
      for (float& value : lists[l]) value = static_cast<float>(random() % 9) - 4.0F;
      std::sort(lists[l].begin(), lists[l].end(), std::greater<>());
      for (const float value : lists[l]) all.emplace_back(value, l);
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    const std::vector<std::span<const float>> spans(lists.begin(), lists.end());
    for (std::size_t total = 0; total <= all.size() + 1; ++total) {
      std::vector<std::ptrdiff_t> expected(lists.size(), 0);
      for (std::size_t i = 0; i < std::min(total, all.size()); ++i) ++expected[all[i].second];
      EXPECT_EQ(counts_of_largest(spans, static_cast<std::ptrdiff_t>(total)), expected);
    }
  }
}

}  // namespace
}  // namespace evictlab::core
