#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "../hand_made.hpp"
#include "sim/policy/registry.hpp"
#include "sim/replay/eviction.hpp"

namespace evictlab::sim {
namespace {

using ::testing::ElementsAre;

// The window's mean over positions 0..2 (hand_made.hpp): head 0 (.4 .2 .1), head 1 (.1 .2 .4).
trace::RowMatrix scores(const std::string& parameters) {
  const trace::LayerData layer = testing::two_heads_five_positions();
  return *score_layer(make_policy("snapkv(window=2," + parameters + ")"), trace::layer_view(layer)).scores;
}

std::vector<float> prefix_scores(const std::string& parameters) {
  const trace::RowMatrix all = scores(parameters);
  return {all(0, 0), all(0, 1), all(0, 2)};
}

std::vector<std::int32_t> kept(const std::string& parameters, double slots) {
  const trace::LayerData layer = testing::two_heads_five_positions();
  const std::vector<trace::LayerView> layers = {trace::layer_view(layer)};
  return evict(make_policy("snapkv(window=2," + parameters + ")"), layers, slots).layers.front().positions;
}

MATCHER_P(Near, expected, "") { return std::abs(arg - expected) < 1e-6; }

TEST(SnapKv, VotesAreAveragedOverTheWindowAndReducedOverTheGroup) {
  EXPECT_THAT(prefix_scores("kernel=1"), ElementsAre(Near(.25), Near(.2), Near(.25)));
  EXPECT_THAT(prefix_scores("kernel=1,reduction=sum"), ElementsAre(Near(.5), Near(.4), Near(.5)));
  EXPECT_THAT(prefix_scores("kernel=1,reduction=max"), ElementsAre(Near(.4), Near(.2), Near(.4)));
}

TEST(SnapKv, AveragePoolingDividesByTheKernelAlsoAtTheEnds) {
  // (.25+.2)/3, (.25+.2+.25)/3, (.2+.25)/3: position 1, last before, is now first.
  EXPECT_THAT(prefix_scores("kernel=3,pooling=avg"), ElementsAre(Near(.15), Near(.7 / 3), Near(.15)));
  EXPECT_THAT(kept("kernel=3,pooling=avg", 3), ElementsAre(1, 3, 4));
}

TEST(SnapKv, HeadsAreReducedBeforePooling) {
  // Pooled first, the heads would be (.4 .4 .2) and (.2 .4 .4), their mean (.3 .4 .3).
  EXPECT_THAT(prefix_scores("kernel=3,pooling=max"), ElementsAre(Near(.25), Near(.25), Near(.25)));
}

TEST(SnapKv, OfEqualScoresTheLowerPositionIsKept) {
  EXPECT_THAT(kept("kernel=3,pooling=max", 3), ElementsAre(0, 3, 4));
  EXPECT_THAT(kept("kernel=1", 4), ElementsAre(0, 2, 3, 4));
}

TEST(SnapKv, NothingLeaksFromTheWindowIntoTheScores) {
  // Position 3 gets .3 and .1 in the window: pooled with position 2 it would be the largest.
  EXPECT_TRUE(std::isnan(scores("kernel=3")(0, 3)));
  EXPECT_THAT(prefix_scores("kernel=5,pooling=max"), ElementsAre(Near(.25), Near(.25), Near(.25)));
}

TEST(SnapKv, EachQueryHeadHasItsOwnSetOnTheQueryAxis) {
  const trace::LayerData layer = testing::two_heads_five_positions();
  const std::vector<trace::LayerView> layers = {trace::layer_view(layer)};
  const Policy policy = make_policy("snapkv(window=2,kernel=1,axis=query)");
  // 6 slots per kv head are 6 * G/H = 3 for each of two query heads: the window and one more.
  const LayerRetention retention = evict(policy, layers, 6).layers.front();
  EXPECT_EQ(retention.sets(), 2);
  EXPECT_THAT(retention.kept(0), ElementsAre(0, 3, 4));
  EXPECT_THAT(retention.kept(1), ElementsAre(2, 3, 4));
}

TEST(SnapKv, APromptNoLongerThanTheBudgetIsKeptWholeInTheOrderOfTime) {
  EXPECT_THAT(kept("kernel=1", 5), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(kept("kernel=1", 99), ElementsAre(0, 1, 2, 3, 4));
}

TEST(SnapKv, StorageOrderIsSinksThenFallingImportanceThenTheWindow) {
  // Average pooling ranks 1, 0, 2; position 0 is a sink.
  EXPECT_THAT(kept("kernel=3,pooling=avg,sinks=1", 4), ElementsAre(0, 1, 3, 4));
  // Without the sink position 0 comes second.
  EXPECT_THAT(kept("kernel=3,pooling=avg", 4), ElementsAre(1, 0, 3, 4));
}

TEST(SnapKv, RefusesABudgetBelowItsWindowAndAWindowThatWasNotRecorded) {
  EXPECT_THROW(kept("kernel=1", 1), PolicyError);
  EXPECT_THAT(kept("kernel=1", 2), ElementsAre(3, 4));
  const trace::LayerData layer = testing::two_heads_five_positions();
  EXPECT_THAT(
      [&] { score_layer(make_policy("snapkv(window=3)"), trace::layer_view(layer)); },
      ::testing::ThrowsMessage<PolicyError>("policy 'snapkv' reads the last 3 prompt queries; layer 0 gives 2"));
}

TEST(SnapKv, RefusesAnEvenKernelAndAVariantThatDoesNotExist) {
  EXPECT_THROW(make_policy("snapkv(kernel=4)"), PolicyError);
  EXPECT_THROW(make_policy("snapkv(variant=tova)"), PolicyError);
}

TEST(SnapKv, PositionsOutOfTheLayersSlidingWindowAreNeverKept) {
  trace::LayerData layer = testing::two_heads_five_positions();
  layer.shape.sliding_window = 5;  // the first future query, at position 5, sees positions 1..5
  const std::vector<trace::LayerView> layers = {trace::layer_view(layer)};
  const Policy policy = make_policy("snapkv(window=2,kernel=1)");
  EXPECT_THAT(evict(policy, layers, 5).layers.front().positions, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(evict(policy, layers, 3).layers.front().positions, ElementsAre(2, 3, 4));
}

}  // namespace
}  // namespace evictlab::sim
