#include "sim/policy/pooled_ranking.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>

namespace evictlab::sim {
namespace {

using ::testing::ElementsAre;

// A layer of two kept sets with six positions, of which the first and the last are protected.
class TwoSets {
 public:
  explicit TwoSets(const trace::RowMatrix& scores) : scores_(std::make_shared<const trace::RowMatrix>(scores)) {
    shape_ = {.layers = 1,
              .query_heads = scores.rows(),
              .kv_heads = scores.rows(),
              .head_dim = 1,
              .prompt_length = scores.cols(),
              .future_length = 1,
              .window = 1};
  }
  PooledRanking ranking(Protection protection, TieOrder ties) const {
    return {scores_, PositionRanges(shape_, protection), ties};
  }

 private:
  trace::LayerShape shape_;
  std::shared_ptr<const trace::RowMatrix> scores_;
};

// Candidates are positions 1..4: set 0 has 5 3 3 1, set 1 has 4 3 2 0.
trace::RowMatrix scores_of_two_sets() {
  trace::RowMatrix scores(2, 6);
  scores << 9, 5, 3, 3, 1, 9,  //
      9, 4, 3, 2, 0, 9;
  return scores;
}

TEST(PooledRanking, CountsWhoHasTheBestCandidatesAndOfEqualOnesTheLowerSetFirst) {
  const TwoSets layer(scores_of_two_sets());
  const PooledRanking competition = layer.ranking({1, 1}, TieOrder::kLowerFirst);
  EXPECT_EQ(competition.candidates(), 8);
  EXPECT_THAT(competition.shares(0), ElementsAre(0, 0));
  EXPECT_THAT(competition.shares(1), ElementsAre(1, 0));  // 5
  EXPECT_THAT(competition.shares(2), ElementsAre(1, 1));  // 5 4
  EXPECT_THAT(competition.shares(3), ElementsAre(2, 1));  // 5 4 | 3 of set 0
  EXPECT_THAT(competition.shares(5), ElementsAre(3, 2));
  EXPECT_THAT(competition.shares(100), ElementsAre(4, 4));
}

TEST(PooledRanking, TheOtherTieOrderGivesEqualOnesToTheHigherSet) {
  const TwoSets layer(scores_of_two_sets());
  const PooledRanking competition = layer.ranking({1, 1}, TieOrder::kHigherFirst);
  EXPECT_THAT(competition.shares(3), ElementsAre(1, 2));  // 5 4 | 3 of set 1
  EXPECT_THAT(competition.shares(4), ElementsAre(2, 2));
}

TEST(PooledRanking, AGuaranteeGoesToEverySetBeforeTheRestIsCompetedFor) {
  const TwoSets layer(scores_of_two_sets());
  const PooledRanking competition = layer.ranking({1, 1}, TieOrder::kLowerFirst);
  EXPECT_THAT(competition.shares(4, 2), ElementsAre(2, 2));  // nothing is left
  EXPECT_THAT(competition.shares(5, 1), ElementsAre(3, 2));  // 5 and 4 are guaranteed; then 3 3 3
  EXPECT_THAT(competition.shares(5, 2), ElementsAre(3, 2));  // 5 3 and 4 3; then set 0's other 3
}

TEST(PooledRanking, WhatIsAskedForFirstDoesNotChangeWhatIsToldLater) {
  std::mt19937 random(7);
  trace::RowMatrix scores(3, 200);
  for (float& score : scores.reshaped()) score = static_cast<float>(random() % 50);
  const TwoSets layer(scores);
  for (const TieOrder ties : {TieOrder::kLowerFirst, TieOrder::kHigherFirst}) {
    const PooledRanking rising = layer.ranking({2, 5}, ties);
    for (const Index count : {1, 3, 40, 41, 300, 579}) {
      const PooledRanking fresh = layer.ranking({2, 5}, ties);
      EXPECT_EQ(rising.shares(count), fresh.shares(count)) << count;
      EXPECT_EQ(rising.shares(count, 10), fresh.shares(count, 10)) << count;
    }
  }
}

}  // namespace
}  // namespace evictlab::sim
