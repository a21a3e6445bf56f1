// Evicting in one layer, or in one kv head, with everything else full.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "random_layers.hpp"
#include "sim/policy/constraints.hpp"

namespace evictlab::sim {
namespace {

using ::testing::HasSubstr;
using testing::kept_sets;
using testing::RandomLayers;
using ::testing::ThrowsMessage;

constexpr std::size_t kPositions = 150;

const RandomLayers& three_layers() {
  static const RandomLayers only(
      {.layers = 3, .query_heads = 4, .kv_heads = 2, .length = kPositions, .window = 64, .seed = 5});
  return only;
}

TEST(EvictionSite, OneLayerIsEvictedAsThePolicyEvictsItAndTheOthersKeepEverything) {
  const auto all = kept_sets(three_layers().kept("snapkv", 60));
  const auto one = kept_sets(three_layers().kept("snapkv(evict_layer=1)", 60));
  EXPECT_EQ(one[1], all[1]);
  for (const std::size_t layer : {0U, 2U}) {
    for (const auto& set : one[layer]) EXPECT_EQ(set.size(), kPositions);
  }
}

TEST(EvictionSite, OneKvHeadIsEvictedAndTheOthersOfItsLayerKeepEverything) {
  const auto all = kept_sets(three_layers().kept("snapkv", 60));
  const auto everywhere = kept_sets(three_layers().kept("snapkv(evict_head=1)", 60));
  const auto one = kept_sets(three_layers().kept("snapkv(evict_layer=2,evict_head=1)", 60));
  for (std::size_t layer = 0; layer < 3; ++layer) {
    EXPECT_EQ(everywhere[layer][0].size(), kPositions);
    EXPECT_EQ(everywhere[layer][1], all[layer][1]);
    EXPECT_EQ(one[layer][1].size(), layer == 2 ? 60U : kPositions);
  }
  EXPECT_EQ(one[2][1], all[2][1]);
}

TEST(EvictionSite, AKvHeadIsAllOfItsQueryHeadsWhereThoseHaveSetsOfTheirOwn) {
  // Four query heads of two kv heads: heads 0 and 1 read kv head 0. 60 slots are 30 positions a query head.
  const LayerRetention layer = three_layers().kept("snapkv(axis=query,window=16,evict_head=0)", 60).layers.front();
  for (const Index set : {0, 1}) EXPECT_EQ(layer.kept(set).size(), 30U);
  for (const Index set : {2, 3}) EXPECT_EQ(layer.kept(set).size(), kPositions);
}

TEST(EvictionSite, EveryKeptSetThereGetsTheCountWhateverThePolicyWouldGiveIt) {
  for (const char* text : {"pyramidkv(evict_layer=0)", "cake(evict_layer=0)", "ada-snapkv(evict_layer=0)"}) {
    const LayerRetention layer = three_layers().kept(text, 60).layers.front();
    for (Index set = 0; set < layer.sets(); ++set) EXPECT_EQ(layer.kept(set).size(), 60U) << text;
  }
}

TEST(EvictionSite, IsWrittenBackAndRefusedWhereItMakesNoSense) {
  EXPECT_EQ(make_policy("snapkv(evict_head=1,evict_layer=2)").label(), "snapkv(evict_layer=2,evict_head=1)");
  EXPECT_EQ(make_policy(make_policy("h2o(evict_layer=0)").text()).text(), make_policy("h2o(evict_layer=0)").text());
  EXPECT_THAT([] { make_policy("snapkv(evict_layer=all)"); }, ThrowsMessage<PolicyError>(HasSubstr("whole number")));
  for (const char* text : {"simlayerkv(evict_layer=0)", "windowkv(evict_layer=0)", "h2o(decode=yes,evict_layer=0)",
                           "tova(evict_head=0)"}) {
    EXPECT_THAT([&] { make_policy(text); }, ThrowsMessage<ImpossiblePolicy>(HasSubstr("in one place only"))) << text;
  }
  EXPECT_THAT([] { three_layers().kept("snapkv(evict_layer=3)", 60); },
              ThrowsMessage<PolicyError>(HasSubstr("the model has layers 0 to 2")));
  EXPECT_THAT([] { three_layers().kept("snapkv(evict_head=2)", 60); },
              ThrowsMessage<PolicyError>(HasSubstr("has kv heads 0 to 1")));
}

}  // namespace
}  // namespace evictlab::sim
