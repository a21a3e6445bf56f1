#include "analysis/attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace evictlab::analysis {
namespace {

using trace::ElementType;
using trace::Tensor;

TEST(Attention, EntropyOfUniformOneHotAndScaledRows) {
  EXPECT_NEAR(entropy(std::vector<float>(8, 0.125F)), std::log(8), 1e-12);
  EXPECT_EQ(entropy(std::vector<float>{0, 1, 0}), 0);
  EXPECT_EQ(entropy(std::vector<float>{0, 0}), 0);
  EXPECT_EQ(entropy({}), 0);
  // 1/2, 1/4, 1/4: 1.5 bits; weights need not sum to 1.
  EXPECT_NEAR(entropy(std::vector<float>{4, 2, 0, 2}), 1.5 * std::log(2), 1e-12);
}

AttentionProfile profile_of(const Tensor& rows, trace::Index sliding_window, const ProfileOptions& options = {}) {
  return attention_profile(rows.view(), 0, sliding_window, rank_window(rows.view(), 0), options);
}

// Two rows of five positions: the query at 3 spreads evenly over its four, the query at 4 looks at itself alone.
Tensor two_rows(ElementType type, float scale) {
  Tensor rows(type, 1, 2, 5, scale);
  rows.set_row(0, 0, std::vector{.25F, .25F, .25F, .25F, 0.0F});
  rows.set_row(0, 1, std::vector{0.0F, 0.0F, 0.0F, 0.0F, 1.0F});
  return rows;
}

TEST(Attention, ProfileAveragesOverTheWindowRows) {
  for (const Tensor& rows : {two_rows(ElementType::kFloat32, 1), two_rows(ElementType::kFloat16, 32768)}) {
    const AttentionProfile profile = profile_of(rows, 0, {.sinks = 1, .recent = 2});
    EXPECT_NEAR(profile.entropy, std::log(4) / 2, 1e-6);
    EXPECT_NEAR(profile.normalized_entropy, 0.5, 1e-6);       // 1 and 0
    EXPECT_NEAR(profile.effective_positions, 2.5, 1e-6);      // 4 and 1
    EXPECT_NEAR(profile.sink_mass, 0.125, 1e-6);              // .25 and 0
    EXPECT_NEAR(profile.recent_mass, (0.5 + 1.0) / 2, 1e-6);  // positions 2..3, 3..4
  }
}

TEST(Attention, ASlidingWindowShortensThePrefixThatUniformIsMeasuredAgainst) {
  // The query at 4 sees 3..4 only, evenly: uniform over what it sees, and no sink in sight.
  Tensor rows(ElementType::kFloat32, 1, 1, 5);
  rows.set_row(0, 0, std::vector{0.0F, 0.0F, 0.0F, .5F, .5F});
  const AttentionProfile profile = profile_of(rows, 2, {.sinks = 4, .recent = 32});
  EXPECT_NEAR(profile.normalized_entropy, 1, 1e-6);
  EXPECT_NEAR(profile.sink_mass, 0.5, 1e-6);  // position 3 is one of the first four
  EXPECT_NEAR(profile.recent_mass, 0.5, 1e-6);
  EXPECT_NEAR(profile_of(rows, 2, {.sinks = 3, .recent = 1}).sink_mass, 0, 1e-6);
}

TEST(Attention, APromptOfOnePositionHasNoEntropy) {
  Tensor rows(ElementType::kFloat32, 1, 1, 1);
  rows.set_row(0, 0, std::vector{1.0F});
  const AttentionProfile profile = profile_of(rows, 0);
  EXPECT_EQ(profile.entropy, 0);
  EXPECT_EQ(profile.normalized_entropy, 0);
  EXPECT_EQ(profile.effective_positions, 1);
}

TEST(Attention, TheFourMassesAreASplitAndHeavyHittersAreTheBestOfTheOthers) {
  // One row of ten positions: sink 0, recent 8..9; of 1..7 the top set of two is {3, 5}.
  Tensor rows(ElementType::kFloat32, 1, 1, 10);
  rows.set_row(0, 0, std::vector{.25F, 0.0F, .0625F, .1875F, 0.0F, .125F, 0.0F, .0625F, .0625F, .25F});
  const ProfileOptions options{.sinks = 1, .recent = 2, .top = 0.2};
  const AttentionProfile profile = profile_of(rows, 0, options);
  EXPECT_DOUBLE_EQ(profile.sink_mass, 0.25);
  EXPECT_DOUBLE_EQ(profile.recent_mass, 0.3125);
  EXPECT_DOUBLE_EQ(profile.heavy_mass, 0.3125);
  EXPECT_DOUBLE_EQ(profile.rest_mass, 0.125);
  // Largest first: .25 .25 .1875 .125 .0625 .0625 .0625
  EXPECT_EQ(profile.positions_for, (std::array<trace::Index, 4>{4, 6, 7, 7}));
}

TEST(Attention, AHeadIsOfTheKindThatHoldsHalfOfItsAttention) {
  EXPECT_EQ(head_kind({.sink_mass = 0.5, .recent_mass = 0.5}), "sink");
  EXPECT_EQ(head_kind({.sink_mass = 0.3, .recent_mass = 0.6}), "local");
  EXPECT_EQ(head_kind({.sink_mass = 0.3, .recent_mass = 0.1, .heavy_mass = 0.6}), "retrieval");
  EXPECT_EQ(head_kind({.sink_mass = 0.3, .recent_mass = 0.3, .heavy_mass = 0.3, .rest_mass = 0.1}), "dispersed");
}

}  // namespace
}  // namespace evictlab::analysis
