#include "runtime/kv_cache.hpp"

#include <stdexcept>

namespace evictlab::runtime {
namespace {

using ::testing::ElementsAre;

/// Appends rows filled with `value`.
void append(KvCache& cache, Index layer, Index head, Index count, float value) {
  KvCache::NewSlots slots = cache.append(layer, head, count);
  slots.keys.setConstant(value);
  slots.values.setConstant(-value);
}

TEST(KvCacheTest, SlotsFollowEachOtherWithTheirPositions) {
  KvCache cache(1, 2, 3, 5);
  for (Index head : {0, 1}) append(cache, 0, head, 2, 1.0F + static_cast<float>(head));
  cache.advance(2);
  EXPECT_EQ(cache.next_position(), 2);
  append(cache, 0, 1, 1, 9.0F);
  EXPECT_THAT(cache.positions(0, 1), ElementsAre(0, 1, 2));
  ASSERT_EQ(cache.keys(0, 1).rows(), 3);
  EXPECT_EQ(cache.keys(0, 1)(1, 2), 2.0F);
  EXPECT_EQ(cache.keys(0, 1)(2, 0), 9.0F);
  EXPECT_EQ(cache.values(0, 1)(2, 2), -9.0F);
}

TEST(KvCacheTest, HeadsAndLayersHaveLengthsOfTheirOwn) {
  KvCache cache(2, 2, 4, 10);
  append(cache, 0, 0, 3, 1.0F);
  append(cache, 1, 1, 7, 2.0F);
  EXPECT_EQ(cache.length(0, 0), 3);
  EXPECT_EQ(cache.length(0, 1), 0);
  EXPECT_EQ(cache.length(1, 0), 0);
  EXPECT_EQ(cache.length(1, 1), 7);
  EXPECT_EQ(cache.keys(0, 0)(2, 3), 1.0F);
  EXPECT_THROW(cache.layer_keys(0), std::logic_error);
}

TEST(KvCacheTest, ALayerOfEqualHeadsIsOneTensor) {
  KvCache cache(1, 2, 2, 6);
  append(cache, 0, 0, 4, 1.0F);
  append(cache, 0, 1, 4, 2.0F);
  const trace::TensorView keys = cache.layer_keys(0);
  EXPECT_EQ(keys.heads(), 2);
  EXPECT_EQ(keys.rows(), 4);
  EXPECT_EQ(keys.columns(), 2);
  EXPECT_THAT(keys.float_row(0, 3), ElementsAre(1.0F, 1.0F));
  EXPECT_THAT(keys.float_row(1, 3), ElementsAre(2.0F, 2.0F));
  EXPECT_THAT(cache.layer_values(0).float_row(1, 0), ElementsAre(-2.0F, -2.0F));
}

TEST(KvCacheTest, TheCapacityCanBeFilledButNotExceeded) {
  KvCache cache(1, 1, 2, 4);
  append(cache, 0, 0, 4, 1.0F);
  EXPECT_THROW(cache.append(0, 0, 1), std::length_error);
  EXPECT_EQ(cache.length(0, 0), 4);
}

}  // namespace
}  // namespace evictlab::runtime
