#include "analysis/attention_map.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace evictlab::analysis {
namespace {

trace::TensorView view(const std::vector<float>& values, trace::Index heads, trace::Index rows, trace::Index columns) {
  return {values.data(), heads, rows, columns};
}

TEST(AttentionMap, IsTheMeanOverHeadsWhereNothingIsPooled) {
  const std::vector<float> rows = {1.0F, 0.0F, 0.5F, 0.5F,
                                   0.0F, 1.0F, 0.5F, 0.5F};  // [2 heads, 2 queries, 2 positions]
  const AttentionMap map = attention_map(view(rows, 2, 2, 2), 16, 64);
  EXPECT_EQ(map.queries, 2);
  EXPECT_EQ(map.bins, 2);
  EXPECT_EQ(map.values, (std::vector<double>{0.5, 0.5, 0.5, 0.5}));
}

TEST(AttentionMap, KeepsThePeakOfEveryCell) {
  // One head, 3 queries on 5 positions, into 2 x 2 cells: queries {0, 1}, {2}; positions {0, 1, 2}, {3, 4}.
  const std::vector<float> rows = {0.0F,  0.75F, 0.0F, 0.25F, 0.0F,   //
                                   0.25F, 0.0F,  0.0F, 0.0F,  0.75F,  //
                                   0.0F,  0.0F,  1.0F, 0.0F,  0.0F};
  const AttentionMap map = attention_map(view(rows, 1, 3, 5), 2, 2);
  EXPECT_EQ(map.values, (std::vector<double>{0.75, 0.75, 1.0, 0.0}));
  EXPECT_EQ(map.at(1, 0), 1.0);
}

TEST(AttentionMap, OfNoQueriesIsEmpty) { EXPECT_TRUE(attention_map(view({}, 1, 0, 5), 16, 64).values.empty()); }

}  // namespace
}  // namespace evictlab::analysis
