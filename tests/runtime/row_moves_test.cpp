#include "runtime/row_moves.hpp"

#include "core/random.hpp"

namespace evictlab::runtime {
namespace {

using ::testing::ElementsAre;

/// What rows 10, 11, ... (one float each) become.
std::vector<float> gathered(const std::vector<Index>& order, Index rows) {
  std::vector<float> array;
  for (Index i = 0; i < rows; ++i) array.push_back(10.0F + static_cast<float>(i));
  apply_moves(moves_to_gather(order, rows), array.data(), 1);
  array.resize(order.size());
  return array;
}

TEST(RowMoves, GiveTheRowsAskedForInTheirOrder) {
  EXPECT_THAT(gathered({3, 0, 2}, 4), ElementsAre(13, 10, 12));
  EXPECT_THAT(gathered({0, 1, 2, 3}, 4), ElementsAre(10, 11, 12, 13));
  EXPECT_TRUE(gathered({}, 4).empty());
}

TEST(RowMoves, ARowMayBeAskedForSeveralTimes) {
  EXPECT_THAT(gathered({2, 2, 2}, 3), ElementsAre(12, 12, 12));
  EXPECT_THAT(gathered({0, 0, 1, 2}, 4), ElementsAre(10, 10, 11, 12));  // what 0 is copied over is still needed
  EXPECT_THAT(gathered({1, 3, 1, 3}, 4), ElementsAre(11, 13, 11, 13));
}

TEST(RowMoves, StandStillWhereNothingChanges) { EXPECT_TRUE(moves_to_gather(std::vector<Index>{0, 1, 2}, 5).empty()); }

TEST(RowMoves, RefuseMoreThanThereIsRoomFor) {
  EXPECT_THROW(moves_to_gather(std::vector<Index>{0, 0, 0}, 2), std::invalid_argument);
}

TEST(RowMoves, GatherAnyOrderWhateverIsRepeated) {
  core::SplitMix64 random(1);
  for (int run = 0; run < 500; ++run) {
    const auto rows = static_cast<Index>(1 + random.uniform() * 12);
    const auto count = static_cast<Index>(random.uniform() * static_cast<double>(rows + 1));
    std::vector<Index> order;
    for (Index i = 0; i < count; ++i) order.push_back(static_cast<Index>(random.uniform() * static_cast<double>(rows)));
    const std::vector<float> got = gathered(order, rows);
    for (std::size_t i = 0; i < order.size(); ++i) ASSERT_EQ(got[i], 10.0F + static_cast<float>(order[i]));
  }
}

}  // namespace
}  // namespace evictlab::runtime
