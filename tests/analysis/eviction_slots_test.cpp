#include "analysis/eviction_slots.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <stdexcept>
#include <vector>

namespace evictlab::analysis {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trace::Index;

struct Case {
  trace::RowMatrix attention;  // [T, n + T]
  std::vector<std::int32_t> capacity;
  Index sinks = 0;
  Index recent = 0;

  Index queries() const { return attention.rows(); }
  Index prompt() const { return attention.cols() - attention.rows(); }
  EvictionSlots slots() const { return {.capacity = capacity, .sinks = sinks, .recent = recent}; }
  bool may_leave(Index position, Index slot) const { return position >= sinks && position + recent < prompt() + slot; }
};

// Small integers, so that sums are exact and ties are many; capacities that can be met.
Case random_case(std::mt19937_64& random, Index n, Index queries, int highest, Index sinks, Index recent) {
  Case out{.attention = trace::RowMatrix::Zero(queries, n + queries), .capacity = {}, .sinks = sinks, .recent = recent};
  std::uniform_int_distribution<int> paid(0, highest);
  for (Index t = 0; t < queries; ++t) {
    for (Index j = 0; j <= n + t; ++j) out.attention(t, j) = static_cast<float>(paid(random));
  }
  Index left = 0;
  for (Index slot = 0; slot < queries; ++slot) {
    const Index free = std::max<Index>(0, n + slot - recent - sinks) - left;
    const Index most = slot == 0 ? free : std::min<Index>(free, 3);
    out.capacity.push_back(most > 0 ? std::uniform_int_distribution<std::int32_t>(0, static_cast<int>(most))(random)
                                    : 0);
    left += out.capacity.back();
  }
  return out;
}

// What is retained, added up query by query from who is held.
double retained_by(const Case& given, const std::vector<std::int32_t>& until) {
  double sum = 0;
  for (Index t = 0; t < given.queries(); ++t) {
    for (Index j = 0; j <= given.prompt() + t; ++j) {
      if (t < until[static_cast<std::size_t>(j)]) sum += static_cast<double>(given.attention(t, j));
    }
  }
  return sum;
}

// The most that any choice retains: all sets of held positions, slot after slot.
double exhaustive_slots(const Case& given) {
  std::map<std::uint32_t, double> reached{{(1U << given.attention.cols()) - 1, 0.0}};
  for (Index slot = 0; slot < given.queries(); ++slot) {
    std::uint32_t may = 0;
    for (Index j = 0; j < given.attention.cols(); ++j) may |= given.may_leave(j, slot) ? 1U << j : 0U;
    std::map<std::uint32_t, double> next;
    for (const auto& [held, so_far] : reached) {
      const std::uint32_t candidates = held & may;
      for (std::uint32_t leave = candidates;; leave = (leave - 1) & candidates) {
        if (std::popcount(leave) == given.capacity[static_cast<std::size_t>(slot)]) {
          double sum = so_far;
          for (Index j = 0; j <= given.prompt() + slot; ++j) {
            if (((held & ~leave) >> j & 1U) != 0) sum += static_cast<double>(given.attention(slot, j));
          }
          const auto [there, is_new] = next.try_emplace(held & ~leave, sum);
          if (!is_new) there->second = std::max(there->second, sum);
        }
        if (leave == 0) break;
      }
    }
    reached = std::move(next);
  }
  double best = -1;
  for (const auto& [held, sum] : reached) best = std::max(best, sum);
  return best;
}

void expect_follows_the_slots(const Case& given, const EvictionTimes& times) {
  ASSERT_EQ(times.until.size(), static_cast<std::size_t>(given.attention.cols()));
  std::vector<std::int32_t> left(static_cast<std::size_t>(given.queries()), 0);
  for (Index j = 0; j < given.attention.cols(); ++j) {
    const std::int32_t until = times.until[static_cast<std::size_t>(j)];
    ASSERT_GE(until, 0);
    ASSERT_LE(until, given.queries());
    if (until == given.queries()) continue;
    EXPECT_TRUE(given.may_leave(j, until)) << "position " << j << " in slot " << until;
    ++left[static_cast<std::size_t>(until)];
  }
  EXPECT_EQ(left, given.capacity);
}

TEST(EvictionSlots, GreedyTakesEarlyWhatCouldLeaveForNothingLater) {
  // n = 2, T = 2, one leaves in each slot. Losses in slots 0 and 1: position 0 (paid 3, then 0) 3 and 0; position 1
  // (paid 2 and 2) 4 and 2; position 2, which exists from query 0 on, 9 in slot 1. Greedy loses 3 + 2 of 16, the best
  // is 4 + 0.
  Case given{.attention = trace::RowMatrix(2, 4), .capacity = {1, 1}};
  given.attention << 3, 2, 0, 0, 0, 2, 9, 0;
  const EvictionTimes greedy = greedy_eviction(given.attention, given.slots());
  EXPECT_THAT(greedy.until, ElementsAre(0, 1, 2, 2));
  EXPECT_EQ(greedy.retained, 11);
  const EvictionTimes optimal = optimal_eviction(given.attention, given.slots());
  EXPECT_THAT(optimal.until, ElementsAre(1, 0, 2, 2));
  EXPECT_EQ(optimal.retained, 12);
}

TEST(EvictionSlots, OptimalRetainsWhatTryingEverythingRetains) {
  std::mt19937_64 random(1);
  int greedy_below = 0;
  for (int trial = 0; trial < 600; ++trial) {
    const Index n = 1 + trial % 6;
    const Index queries = 1 + trial / 6 % 4;
    const Index sinks = trial % 3 == 0 ? trial % 2 : 0;
    const Index recent = trial % 5 == 0 ? 1 + trial % 2 : 0;
    const Case given = random_case(random, n, queries, trial % 2 == 0 ? 2 : 20, sinks, recent);
    SCOPED_TRACE(trial);
    const double best = exhaustive_slots(given);
    const EvictionTimes optimal = optimal_eviction(given.attention, given.slots());
    expect_follows_the_slots(given, optimal);
    EXPECT_EQ(optimal.retained, best);
    EXPECT_EQ(retained_by(given, optimal.until), best);
    const EvictionTimes greedy = greedy_eviction(given.attention, given.slots());
    expect_follows_the_slots(given, greedy);
    EXPECT_EQ(retained_by(given, greedy.until), greedy.retained);
    EXPECT_LE(greedy.retained, best);
    if (greedy.retained < best) ++greedy_below;
  }
  EXPECT_GT(greedy_below, 10);  // otherwise the cases were too easy to tell the two apart
}

TEST(EvictionSlots, OptimalIsNotBelowGreedyAndFollowsTheSlotsOnLargerCases) {
  std::mt19937_64 random(2);
  for (int trial = 0; trial < 20; ++trial) {
    Case given = random_case(random, 60, 24, 30, trial % 4, trial % 7);
    std::lognormal_distribution<float> paid(-3, 2);
    for (Index t = 0; t < given.queries(); ++t) {
      for (Index j = 0; j <= given.prompt() + t; ++j) given.attention(t, j) = paid(random);
    }
    const EvictionTimes greedy = greedy_eviction(given.attention, given.slots());
    const EvictionTimes optimal = optimal_eviction(given.attention, given.slots());
    expect_follows_the_slots(given, greedy);
    expect_follows_the_slots(given, optimal);
    EXPECT_GE(optimal.retained, greedy.retained);
    EXPECT_NEAR(optimal.retained, retained_by(given, optimal.until), 1e-9 * optimal.retained);
  }
}

TEST(EvictionSlots, WithOneSlotTheLargestMassesStayAndOfEqualOnesTheLower) {
  // Query 0 pays 2 1 2 3 2 and itself 1; three of the five leave: 1, and of the three 2s the two higher.
  Case given{.attention = trace::RowMatrix(1, 6), .capacity = {3}};
  given.attention << 2, 1, 2, 3, 2, 1;
  for (const EvictionTimes& times :
       {greedy_eviction(given.attention, given.slots()), optimal_eviction(given.attention, given.slots())}) {
    EXPECT_THAT(times.until, ElementsAre(1, 0, 0, 1, 0, 1));
    EXPECT_EQ(times.retained, 6);
  }
}

TEST(EvictionSlots, NothingLeavesWhereNoSlotTakesAny) {
  Case given{.attention = trace::RowMatrix::Ones(2, 5), .capacity = {0, 0}};
  given.attention(0, 4) =
      std::numeric_limits<float>::quiet_NaN();  // position n + 1 does not exist at query 0: not read
  const EvictionTimes times = optimal_eviction(given.attention, given.slots());
  EXPECT_THAT(times.until, ElementsAre(2, 2, 2, 2, 2));
  EXPECT_EQ(times.retained, 4 + 5);
}

TEST(EvictionSlots, AttentionThatIsZeroThroughoutIsRetainedNowhere) {
  const Case given{.attention = trace::RowMatrix::Zero(3, 6), .capacity = {1, 1, 1}};
  const EvictionTimes times = optimal_eviction(given.attention, given.slots());
  expect_follows_the_slots(given, times);
  EXPECT_EQ(times.retained, 0);
}

TEST(EvictionSlots, ScaleOfAttentionChangesNothingButTheSum) {
  std::mt19937_64 random(3);
  Case given = random_case(random, 20, 8, 9, 1, 2);
  const EvictionTimes times = optimal_eviction(given.attention, given.slots());
  for (const int power : {-100, 90}) {
    Case scaled = given;
    scaled.attention *= std::ldexp(1.0F, power);
    const EvictionTimes other = optimal_eviction(scaled.attention, scaled.slots());
    EXPECT_EQ(other.until, times.until);
    EXPECT_EQ(other.retained, std::ldexp(times.retained, power));
  }
}

void expect_refused(const Case& given, const std::string& reason) {
  for (const auto evict : {greedy_eviction, optimal_eviction}) {
    try {
      evict(given.attention, given.slots());
      ADD_FAILURE() << "accepted, expected: " << reason;
    } catch (const std::invalid_argument& error) {
      EXPECT_THAT(error.what(), HasSubstr(reason));
    }
  }
}

TEST(EvictionSlots, RefusesMoreEvictionsThanPositionsThatMayLeave) {
  // n = 3: two of three in slot 0 leave 1 and the generated position for slot 1.
  const trace::RowMatrix attention = trace::RowMatrix::Ones(2, 5);
  expect_follows_the_slots({.attention = attention, .capacity = {2, 2}},
                           optimal_eviction(attention, {.capacity = std::vector<std::int32_t>{2, 2}}));
  expect_refused({.attention = attention, .capacity = {2, 3}}, "5 positions must leave by slot 1, but only 4 may");
  expect_refused({.attention = attention, .capacity = {4, 0}}, "4 positions must leave by slot 0, but only 3 may");
  expect_refused({.attention = attention, .capacity = {2, 0}, .sinks = 1, .recent = 1}, "but only 1 may");
  expect_refused({.attention = attention, .capacity = {1, 0}, .sinks = 9, .recent = 9}, "but only 0 may");
}

TEST(EvictionSlots, RefusesShapesAndAttentionThatMakeNoSense) {
  const trace::RowMatrix attention = trace::RowMatrix::Ones(2, 5);
  expect_refused({.attention = attention, .capacity = {1}}, "with 1 slots");
  expect_refused({.attention = trace::RowMatrix::Ones(2, 1), .capacity = {0, 0}}, "attention [2, 1]");
  expect_refused({.attention = attention, .capacity = {0, -1}}, "negative capacity");
  expect_refused({.attention = attention, .capacity = {0, 0}, .sinks = -1}, "must not be negative");
  for (const float wrong : {-1.0F, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Case given{.attention = attention, .capacity = {0, 0}};
    given.attention(1, 2) = wrong;
    expect_refused(given, "query 1 pays position 2");
  }
}

}  // namespace
}  // namespace evictlab::analysis
