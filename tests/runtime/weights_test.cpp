#include "runtime/weights.hpp"

#include <cstring>
#include <numeric>

#include "core/quantized_blocks.hpp"

namespace evictlab::runtime {
namespace {

using ::testing::ElementsAre;

/// A matrix [rows, 2] whose row r is (r, r + 0.5).
class Rows {
 public:
  explicit Rows(Index rows) : values_(static_cast<std::size_t>(2 * rows)), rows_(rows) {
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = static_cast<float>(i) / 2.0F;
  }
  WeightMatrix matrix() const { return {core::StorageType::kFloat32, std::as_bytes(std::span(values_)), rows_, 2}; }

 private:
  std::vector<float> values_;
  Index rows_;
};

/// The first elements of rows `first` to the end, which say which stored rows they are.
std::vector<Index> stored_weights(const WeightMatrix& matrix, Index first = 0) {
  std::vector<float> floats(static_cast<std::size_t>((matrix.rows() - first) * matrix.columns()));
  matrix.copy_rows(first, floats);
  std::vector<const std::byte*> starts(floats.size() / 2);
  matrix.find_rows(first, starts);
  std::vector<Index> rows;
  for (std::size_t i = 0; i < floats.size(); i += 2) {
    EXPECT_EQ(floats[i + 1], floats[i] + 0.5F);
    float in_place = 0.0F;
    std::memcpy(&in_place, starts[i / 2], sizeof(float));
    EXPECT_EQ(in_place, floats[i]);
    rows.push_back(static_cast<Index>(floats[i]));
  }
  return rows;
}

TEST(WeightMatrix, RowsComeInTheOrderOfStorage) {
  const Rows rows(4);
  EXPECT_THAT(stored_weights(rows.matrix()), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(stored_weights(rows.matrix(), 2), ElementsAre(2, 3));
  EXPECT_EQ(WeightMatrix().rows(), 0);
}

TEST(WeightMatrix, InterleavedRowsAreBlocksThatAreAStrideApart) {
  const Rows rows(10);
  // Of [q q q k v] twice: the queries, the keys, the values.
  EXPECT_THAT(stored_weights(rows.matrix().reordered(interleaved_rows(0, 3, 5, 2))), ElementsAre(0, 1, 2, 5, 6, 7));
  EXPECT_THAT(stored_weights(rows.matrix().reordered(interleaved_rows(3, 1, 5, 2))), ElementsAre(3, 8));
  EXPECT_THAT(stored_weights(rows.matrix().reordered(interleaved_rows(0, 3, 5, 2)), 2), ElementsAre(2, 5, 6, 7));
}

TEST(WeightMatrix, RowsOfAdjacentPairsComeHalfByHalf) {
  const Rows rows(12);
  // Two heads of 6: stored (0, 3), (1, 4), (2, 5).
  EXPECT_THAT(stored_weights(rows.matrix().reordered(rows_of_adjacent_pairs(2, 6))),
              ElementsAre(0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11));
  EXPECT_THAT(stored_weights(rows.matrix().reordered(rows_of_adjacent_pairs(2, 6)), 5), ElementsAre(5, 6, 8, 10, 7, 9, 11));
}

TEST(WeightMatrix, ARowOfBlocksIsExpanded) {
  core::BlockQ8_0 blocks[4] = {};  // [2, 64]
  for (int i = 0; i < 4; ++i) {
    blocks[i].scale = core::to_half(static_cast<float>(i));
    blocks[i].quants[31] = 2;
  }
  const WeightMatrix matrix(core::StorageType::kQ8_0, std::as_bytes(std::span(blocks)), 2, 64);
  std::vector<float> row(64);
  matrix.copy_rows(1, row);
  EXPECT_EQ(row[31], 4.0F);
  EXPECT_EQ(row[63], 6.0F);
  EXPECT_EQ(std::accumulate(row.begin(), row.end(), 0.0F), 10.0F);
}

}  // namespace
}  // namespace evictlab::runtime
