#include "analysis/allocation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

namespace evictlab::analysis {
namespace {

using ::testing::ElementsAre;
using trace::Index;
using Curve = std::vector<double>;

// Integer increments: all sums, and the comparisons between them, are exact.
Curve random_curve(std::mt19937_64& random, Index most, int highest, bool concave = false) {
  std::uniform_int_distribution<int> increment(0, highest);
  std::vector<int> increments(static_cast<std::size_t>(most));
  for (int& x : increments) x = increment(random);
  if (concave) std::sort(increments.rbegin(), increments.rend());
  Curve curve{0};
  for (const int x : increments) curve.push_back(curve.back() + x);
  return curve;
}

std::vector<Curve> random_curves(std::mt19937_64& random, int sets, int longest, bool concave = false) {
  std::uniform_int_distribution<Index> length(0, longest);
  std::vector<Curve> curves;
  for (int s = 0; s < sets; ++s) curves.push_back(random_curve(random, length(random), 9, concave));
  return curves;
}

std::vector<ConcaveHull> hulls_of(const std::vector<Curve>& curves, const std::vector<Index>& least = {}) {
  std::vector<ConcaveHull> hulls;
  for (std::size_t s = 0; s < curves.size(); ++s) hulls.emplace_back(curves[s], least.empty() ? 0 : least[s]);
  return hulls;
}

CurveValue value_of(const std::vector<Curve>& curves) {
  return [&curves](std::size_t set, Index count) { return curves[set][static_cast<std::size_t>(count)]; };
}

Index most_of(const std::vector<Curve>& curves) {
  Index most = 0;
  for (const Curve& curve : curves) most += static_cast<Index>(curve.size()) - 1;
  return most;
}

// The best division by trying all of them; -infinity if there is none.
double exhaustive(const std::vector<Curve>& curves, const std::vector<Index>& least, Index total, std::size_t set = 0) {
  if (set == curves.size()) return total == 0 ? 0 : -std::numeric_limits<double>::infinity();
  double best = -std::numeric_limits<double>::infinity();
  for (std::size_t count = static_cast<std::size_t>(least[set]); count < curves[set].size(); ++count) {
    if (static_cast<Index>(count) > total) break;
    best = std::max(best, curves[set][count] + exhaustive(curves, least, total - static_cast<Index>(count), set + 1));
  }
  return best;
}

double retained(const std::vector<Curve>& curves, const std::vector<Index>& counts) {
  double sum = 0;
  for (std::size_t s = 0; s < curves.size(); ++s) sum += curves[s][static_cast<std::size_t>(counts[s])];
  return sum;
}

double largest_gain(const std::vector<ConcaveHull>& hulls) {
  double largest = 0;
  for (const ConcaveHull& hull : hulls) {
    for (std::size_t i = 0; i + 1 < hull.vertices(); ++i) {
      largest = std::max(largest, hull.value(i + 1) - hull.value(i));
    }
  }
  return largest;
}

TEST(ConcaveHull, KeepsTheVerticesOfTheEnvelope) {
  // f = 0 1 5 6 7 7: from (0, 0) the steepest line goes to (2, 5), slope 2.5; then 1 a position to (4, 7), on which
  // (3, 6) lies and needs no vertex; then 0.
  const Curve curve{0, 1, 5, 6, 7, 7};
  const ConcaveHull hull(curve);
  ASSERT_EQ(hull.vertices(), 4U);
  EXPECT_EQ(hull.count(1), 2);
  EXPECT_EQ(hull.value(1), 5);
  EXPECT_EQ(hull.count(2), 4);
  EXPECT_EQ(hull.value(2), 7);
  EXPECT_EQ(hull.least(), 0);
  EXPECT_EQ(hull.most(), 5);
  // With at least one: from (1, 1) the next vertex is (2, 5).
  const ConcaveHull later(curve, 1);
  EXPECT_EQ(later.least(), 1);
  EXPECT_EQ(later.value(0), 1);
  EXPECT_EQ(later.count(1), 2);
}

TEST(ConcaveHull, IsConcaveAndNowhereBelowTheCurveItTouches) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const Curve curve = random_curve(random, 1 + trial % 40, 20);
    const ConcaveHull hull(curve);
    for (std::size_t i = 0; i < hull.vertices(); ++i) {
      EXPECT_EQ(hull.value(i), curve[static_cast<std::size_t>(hull.count(i))]);
    }
    double slope = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i + 1 < hull.vertices(); ++i) {
      const double next = (hull.value(i + 1) - hull.value(i)) / static_cast<double>(hull.count(i + 1) - hull.count(i));
      EXPECT_LT(next, slope);
      slope = next;
      for (Index c = hull.count(i); c <= hull.count(i + 1); ++c) {
        EXPECT_LE(curve[static_cast<std::size_t>(c)],
                  hull.value(i) + slope * static_cast<double>(c - hull.count(i)) + 1e-9);
      }
    }
  }
}

TEST(ConcaveHull, RefusesWhatIsNoCurve) {
  EXPECT_THROW(ConcaveHull(Curve{}), std::invalid_argument);
  EXPECT_THROW(ConcaveHull(Curve{0, 2, 1}), std::invalid_argument);
  EXPECT_THROW(ConcaveHull(Curve{0, std::numeric_limits<double>::quiet_NaN(), 1}), std::invalid_argument);
  EXPECT_THROW(ConcaveHull(Curve{0, std::numeric_limits<double>::infinity()}), std::invalid_argument);
  EXPECT_THROW(ConcaveHull(Curve{0, 1}, 2), std::invalid_argument);
  EXPECT_THROW(ConcaveHull(Curve{0, 1}, -1), std::invalid_argument);
}

TEST(Allocation, GivesTheFirstSegmentThatDoesNotFitItsPart) {
  // Set 0: 0 6 6 12 (slopes 6 to 1, then 3 to 3), set 1: 0 4 5 (slopes 4, 1). Of 3 slots: 6 and 4 whole, one is left
  // where two do not fit: bound 10 + 6/2, part 10 + f_0(2) - f_0(1) = 10; filling with set 1's last segment gives 11.
  const std::vector<Curve> curves{{0, 6, 6, 12}, {0, 4, 5}};
  const SlotAllocation three = best_allocation(hulls_of(curves), value_of(curves), 3);
  EXPECT_EQ(three.bound, 13);
  EXPECT_EQ(three.value, 11);
  EXPECT_THAT(three.counts, ElementsAre(1, 2));
  // Where f_0(2) is 8, its part is better than the segment of 1: 10 + 2.
  const std::vector<Curve> other{{0, 6, 8, 12}, {0, 4, 5}};
  const SlotAllocation part = best_allocation(hulls_of(other), value_of(other), 3);
  EXPECT_EQ(part.bound, 13);
  EXPECT_EQ(part.value, 12);
  EXPECT_THAT(part.counts, ElementsAre(2, 1));
}

TEST(Allocation, OfEqualSlopesTheLowerSetComesFirst) {
  const std::vector<Curve> curves{{0, 2, 4}, {0, 2, 4}, {0, 3}};
  EXPECT_THAT(best_allocation(hulls_of(curves), value_of(curves), 3).counts, ElementsAre(2, 0, 1));
}

TEST(Allocation, LiesBetweenTheBestDivisionAndOneSegmentBelowItsBound) {
  std::mt19937_64 random(2);
  int below_best = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const std::vector<Curve> curves = random_curves(random, 1 + trial % 4, 6);
    std::vector<Index> least(curves.size(), 0);
    if (trial % 2 == 1) {
      for (std::size_t s = 0; s < curves.size(); ++s) {
        least[s] = std::uniform_int_distribution<Index>(0, static_cast<Index>(curves[s].size()) - 1)(random);
      }
    }
    const std::vector<ConcaveHull> hulls = hulls_of(curves, least);
    for (Index total = std::accumulate(least.begin(), least.end(), Index{0}); total <= most_of(curves); ++total) {
      const SlotAllocation got = best_allocation(hulls, value_of(curves), total);
      const double best = exhaustive(curves, least, total);
      EXPECT_GE(got.bound, best - 1e-9);
      EXPECT_LE(got.value, best);
      EXPECT_LE(got.bound - got.value, largest_gain(hulls) + 1e-9);
      EXPECT_EQ(got.value, retained(curves, got.counts));
      EXPECT_EQ(std::accumulate(got.counts.begin(), got.counts.end(), Index{0}), total);
      for (std::size_t s = 0; s < curves.size(); ++s) {
        EXPECT_GE(got.counts[s], least[s]);
        EXPECT_LT(got.counts[s], static_cast<Index>(curves[s].size()));
      }
      if (got.value < best) ++below_best;
    }
  }
  EXPECT_GT(below_best, 0);  // otherwise the cases were too easy to tell the two apart
}

TEST(Allocation, IsTheBestDivisionAndItsBoundWhereCurvesAreConcave) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 100; ++trial) {
    const std::vector<Curve> curves = random_curves(random, 3, 6, true);
    const std::vector<ConcaveHull> hulls = hulls_of(curves);
    for (Index total = 0; total <= most_of(curves); ++total) {
      const SlotAllocation got = best_allocation(hulls, value_of(curves), total);
      EXPECT_EQ(got.value, exhaustive(curves, {0, 0, 0}, total));
      EXPECT_NEAR(got.bound, got.value, 1e-9);
    }
  }
}

TEST(Allocation, ManyTotalsAtOnceEqualSingleOnesAndTheirBoundIsConcave) {
  std::mt19937_64 random(4);
  const std::vector<Curve> curves = random_curves(random, 8, 60);
  const std::vector<ConcaveHull> hulls = hulls_of(curves);
  std::vector<Index> totals(static_cast<std::size_t>(most_of(curves)) + 3);
  std::iota(totals.begin(), totals.end(), Index{0});
  const std::vector<SlotAllocation> all = allocations(hulls, value_of(curves), totals);
  ASSERT_EQ(all.size(), totals.size());
  for (std::size_t i = 0; i < totals.size(); ++i) {
    const SlotAllocation one = best_allocation(hulls, value_of(curves), totals[i]);
    EXPECT_EQ(all[i].counts, one.counts);
    EXPECT_EQ(all[i].value, one.value);
    EXPECT_EQ(all[i].bound, one.bound);
    if (i < 2) continue;
    EXPECT_LE(all[i].bound - all[i - 1].bound, all[i - 1].bound - all[i - 2].bound + 1e-9);
  }
}

TEST(Allocation, TotalsBeyondTheSetsGiveAllAndNoneGiveNothing) {
  const std::vector<Curve> curves{{1, 3, 3, 9}, {0}, {0, 0, 0}};
  const SlotAllocation all = best_allocation(hulls_of(curves), value_of(curves), 100);
  EXPECT_THAT(all.counts, ElementsAre(3, 0, 2));
  EXPECT_EQ(all.value, 9);
  EXPECT_EQ(all.bound, 9);
  const SlotAllocation none = best_allocation(hulls_of(curves), value_of(curves), 0);
  EXPECT_THAT(none.counts, ElementsAre(0, 0, 0));
  EXPECT_EQ(none.value, 1);  // what is retained without any
  EXPECT_EQ(none.bound, 1);
}

TEST(Allocation, CurvesThatRetainNothingStillGetTheirSlots) {
  const std::vector<Curve> curves{{0, 0, 0}, {0, 0, 0, 0}};
  const SlotAllocation got = best_allocation(hulls_of(curves), value_of(curves), 4);
  EXPECT_THAT(got.counts, ElementsAre(2, 2));
  EXPECT_EQ(got.bound, 0);
}

TEST(Allocation, OneSetGetsAllSlots) {
  const std::vector<Curve> curves{{0, 1, 1, 7}};
  const SlotAllocation got = best_allocation(hulls_of(curves), value_of(curves), 2);
  EXPECT_THAT(got.counts, ElementsAre(2));
  EXPECT_EQ(got.value, 1);
  EXPECT_DOUBLE_EQ(got.bound, 14.0 / 3);
}

TEST(Allocation, RefusesTotalsThatFallOrAreLessThanTheLeast) {
  const std::vector<Curve> curves{{0, 1, 2}, {0, 1, 2}};
  const std::vector<ConcaveHull> hulls = hulls_of(curves, {1, 2});
  EXPECT_THROW(best_allocation(hulls, value_of(curves), 2), std::invalid_argument);
  EXPECT_NO_THROW(best_allocation(hulls, value_of(curves), 3));
  EXPECT_THROW(allocations(hulls, value_of(curves), std::vector<Index>{4, 3}), std::invalid_argument);
}

}  // namespace
}  // namespace evictlab::analysis
