#include "sim/replay/agreement.hpp"

namespace evictlab::sim {
namespace {

// Two sets: {0, 1, 2} against {0, 1, 3}, and {4} against {4}: overlaps 2/4 and 1.
LayerRetention first() { return {0, {2, 0, 1, 4}, {0, 3, 4}, {3, 1}}; }
LayerRetention second() { return {0, {0, 1, 3, 4}, {0, 3, 4}, {3, 1}}; }

TEST(Agreement, OverlapIsTheMeanOfSharesHeldByBoth) {
  const Agreement found = retention_agreement(first(), second(), nullptr);
  EXPECT_DOUBLE_EQ(found.overlap, 0.75);
  EXPECT_EQ(found.mismatches, 2);
  EXPECT_FALSE(found.margin);
}

// Positions 2 and 3 have the scores 0.8 and 1.0: a fifth of the larger apart.
TEST(Agreement, MarginIsHowFarMismatchedScoresLieApart) {
  trace::RowMatrix scores(2, 5);
  scores << 9, 9, 0.8F, 1.0F, 9, 9, 9, 9, 9, 9;
  EXPECT_NEAR(retention_agreement(first(), second(), &scores).margin.value(), 0.2, 1e-6);
}

TEST(Agreement, OrderDoesNotMatter) {
  const Agreement found = retention_agreement(first(), {0, {1, 2, 0, 4}, {0, 3, 4}, {3, 1}}, nullptr);
  EXPECT_EQ(found.overlap, 1.0);
  EXPECT_EQ(found.mismatches, 0);
}

}  // namespace
}  // namespace evictlab::sim
