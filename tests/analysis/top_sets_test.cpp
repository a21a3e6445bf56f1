#include "analysis/top_sets.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace evictlab::analysis {
namespace {

using Set = std::vector<std::uint32_t>;

TEST(TopSets, CountIsTheRoundedShareAndAtLeastOne) {
  EXPECT_EQ(top_count(100, 0.05), 5);
  EXPECT_EQ(top_count(50, 0.05), 3);  // 2.5 rounds up
  EXPECT_EQ(top_count(5, 0.01), 1);
  EXPECT_EQ(top_count(5, 1.0), 5);
  EXPECT_EQ(top_count(0, 0.5), 0);
}

TEST(TopSets, MassIsAddedUpFromTheLargestAndEqualMassGoesToTheLowerPosition) {
  const RankedMass ranked = rank_mass(std::vector{1.0, 4.0, 1.0, 2.0});
  EXPECT_EQ(ranked.order, (Set{1, 3, 0, 2}));
  EXPECT_EQ(ranked.cumulative, (std::vector{0.5, 0.75, 0.875, 1.0}));
  EXPECT_EQ(mass_on_top(ranked, 0), 0.0);
  EXPECT_EQ(mass_on_top(ranked, 2), 0.75);
  EXPECT_EQ(mass_on_top(ranked, 9), 1.0);
  EXPECT_EQ(positions_for(ranked, 0.5), 1);
  EXPECT_EQ(positions_for(ranked, 0.51), 2);
  EXPECT_EQ(positions_for(ranked, 1.0), 4);
  EXPECT_EQ(top_set(ranked, 3), (Set{0, 1, 3}));
}

TEST(TopSets, UniformMassNeedsTheShareOfThePositions) {
  const RankedMass ranked = rank_mass(std::vector<double>(64, 0.5));
  EXPECT_EQ(positions_for(ranked, 0.75), 48);
  EXPECT_EQ(positions_for(ranked, 1.0), 64);
}

TEST(TopSets, NoMassNeedsNoPositions) {
  const RankedMass ranked = rank_mass(std::vector{0.0, 0.0});
  EXPECT_EQ(positions_for(ranked, 0.9), 0);
  EXPECT_EQ(mass_on_top(ranked, 2), 0.0);
  EXPECT_EQ(positions_for(rank_mass({}), 0.9), 0);
}

TEST(TopSets, OverlapCountsWhatIsInBoth) {
  EXPECT_DOUBLE_EQ(jaccard_index(Set{1, 2, 3}, Set{2, 3, 4}), 0.5);
  EXPECT_DOUBLE_EQ(jaccard_index(Set{1, 2}, Set{3}), 0.0);
  EXPECT_DOUBLE_EQ(jaccard_index(Set{}, Set{}), 1.0);
  EXPECT_DOUBLE_EQ(share_inside(Set{1, 2, 5, 9}, Set{2, 9}), 0.5);
  EXPECT_DOUBLE_EQ(share_inside(Set{}, Set{2}), 1.0);
}

TEST(TopSets, RunsAreOfConsecutivePositions) {
  EXPECT_DOUBLE_EQ(mean_run_length(Set{0, 1, 2, 7, 9, 10}), 2.0);  // 3, 1 and 2
  EXPECT_DOUBLE_EQ(mean_run_length(Set{4}), 1.0);
  EXPECT_DOUBLE_EQ(mean_run_length(Set{}), 0.0);
}

}  // namespace
}  // namespace evictlab::analysis
