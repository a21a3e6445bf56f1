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

/// A layer whose head h holds, at position p, keys 10 h + p and values -(10 h + p).
KvCache numbered(Index layers, Index heads, Index length) {
  KvCache cache(layers, heads, 2, length);
  for (Index layer = 0; layer < layers; ++layer) {
    for (Index head = 0; head < heads; ++head) {
      KvCache::NewSlots slots = cache.append(layer, head, length);
      for (Index p = 0; p < length; ++p) {
        slots.keys.row(p).setConstant(static_cast<float>(10 * head + p));
        slots.values.row(p).setConstant(-static_cast<float>(10 * head + p));
      }
    }
  }
  cache.advance(length);
  return cache;
}

std::vector<float> first_key_elements(const KvCache& cache, Index layer, Index head) {
  std::vector<float> elements;
  const RowMatrixView keys = cache.keys(layer, head);
  const RowMatrixView values = cache.values(layer, head);
  for (Index row = 0; row < keys.rows(); ++row) {
    EXPECT_EQ(keys(row, 1), keys(row, 0));
    EXPECT_EQ(values(row, 0), -keys(row, 0));
    elements.push_back(keys(row, 0));
  }
  return elements;
}

TEST(KvCacheTest, AHeadKeepsWhatItIsToldInThatOrder) {
  KvCache cache = numbered(1, 2, 5);
  cache.keep(0, 0, std::vector<std::int32_t>{4, 0, 2});
  cache.keep(0, 1, std::vector<std::int32_t>{3});
  EXPECT_THAT(cache.positions(0, 0), ElementsAre(4, 0, 2));
  EXPECT_THAT(first_key_elements(cache, 0, 0), ElementsAre(4, 0, 2));
  EXPECT_THAT(first_key_elements(cache, 0, 1), ElementsAre(13));
  cache.shrink(0);
  EXPECT_THAT(first_key_elements(cache, 0, 0), ElementsAre(4, 0, 2));
  EXPECT_THAT(first_key_elements(cache, 0, 1), ElementsAre(13));
  EXPECT_THROW(cache.keep(0, 1, std::vector<std::int32_t>{2}), std::logic_error);  // gone
}

TEST(KvCacheTest, APositionKeptTwiceIsStoredTwice) {
  KvCache cache = numbered(1, 2, 3);
  cache.keep(0, 0, std::vector<std::int32_t>{0, 2});
  cache.shrink(0);
  cache.keep(0, 0, std::vector<std::int32_t>{0, 2, 2, 0});  // more than there is room for
  EXPECT_THAT(first_key_elements(cache, 0, 0), ElementsAre(0, 2, 2, 0));
  EXPECT_THAT(first_key_elements(cache, 0, 1), ElementsAre(10, 11, 12));
}

TEST(KvCacheTest, QueryHeadsCanHoldSlotsOfTheirOwn) {
  KvCache cache = numbered(2, 2, 4);
  const std::vector<std::int32_t> a{3, 1}, b{0}, c{2, 0, 1}, d{};
  cache.split(1, std::vector<std::span<const std::int32_t>>{a, b, c, d});
  EXPECT_EQ(cache.heads(0), 2);
  EXPECT_EQ(cache.heads(1), 4);
  EXPECT_THAT(first_key_elements(cache, 1, 0), ElementsAre(3, 1));
  EXPECT_THAT(first_key_elements(cache, 1, 1), ElementsAre(0));
  EXPECT_THAT(first_key_elements(cache, 1, 2), ElementsAre(12, 10, 11));
  EXPECT_EQ(cache.length(1, 3), 0);
  EXPECT_THAT(first_key_elements(cache, 0, 1), ElementsAre(10, 11, 12, 13));
}

TEST(KvCacheTest, RoomIsMadeForWhatIsReadNext) {
  KvCache cache = numbered(1, 2, 3);
  cache.keep(0, 0, std::vector<std::int32_t>{1});
  cache.shrink(0);
  EXPECT_THROW(cache.append(0, 0, 1), std::length_error);
  cache.make_room(2);
  for (Index head : {0, 1}) {
    KvCache::NewSlots slots = cache.append(0, head, 2);
    slots.keys.setConstant(50.0F);
    slots.values.setConstant(-50.0F);
  }
  EXPECT_THAT(cache.positions(0, 0), ElementsAre(1, 3, 4));
  EXPECT_THAT(first_key_elements(cache, 0, 0), ElementsAre(1, 50, 50));
  EXPECT_THAT(first_key_elements(cache, 0, 1), ElementsAre(10, 11, 12, 50, 50));
}

// A slot is a key and a value of two floats: 16 bytes.
TEST(KvCacheTest, BytesAreThoseAllocated) {
  KvCache cache(2, 2, 2, 5);
  EXPECT_EQ(cache.allocated_bytes(), 0);
  cache.allocate(0);
  EXPECT_EQ(cache.allocated_bytes(), 2 * 5 * 16);
  EXPECT_EQ(cache.held_bytes(), 0);
  append(cache, 0, 0, 5, 1.0F);
  append(cache, 0, 1, 5, 1.0F);
  EXPECT_EQ(cache.held_bytes(), 2 * 5 * 16);
  cache.keep(0, 0, std::vector<std::int32_t>{1, 2});
  EXPECT_EQ(cache.held_bytes(), (2 + 5) * 16);
  EXPECT_EQ(cache.allocated_bytes(), 2 * 5 * 16);  // until it is given back
  cache.shrink(0);
  EXPECT_EQ(cache.allocated_bytes(), (2 + 5) * 16);
  cache.allocate(1);
  EXPECT_EQ(cache.peak_bytes(), (2 + 5 + 10) * 16);
}

// Of two kv heads with five slots each, four query heads keep six together: keys of the whole and of what is kept are
// there at once, and values of the whole; then the other way round.
TEST(KvCacheTest, SplittingHoldsHalfOfWhatIsKeptBesidesTheWhole) {
  KvCache cache = numbered(1, 2, 5);
  const std::vector<std::int32_t> a{0, 1, 2}, b{0}, c{4}, d{3};
  cache.split(0, std::vector<std::span<const std::int32_t>>{a, b, c, d});
  EXPECT_EQ(cache.allocated_bytes(), 6 * 16);
  EXPECT_EQ(cache.peak_bytes(), 10 * 16 + 6 * 8);
}

}  // namespace
}  // namespace evictlab::runtime
