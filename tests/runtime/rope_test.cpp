#include "runtime/rope.hpp"

#include <cmath>
#include <numbers>

namespace evictlab::runtime {
namespace {

TEST(Rope, DefaultFrequenciesFallGeometrically) {
  // theta = 10000, d = 8: 10000^(-2i/8) = 1, 0.1, 0.01, 0.001.
  const std::vector<float> frequencies = rope_frequencies({}, 8);
  ASSERT_EQ(frequencies.size(), 4U);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(frequencies[i], std::pow(10.0, -i), 1e-7 * std::pow(10.0, -i));
}

TEST(Rope, Llama3KeepsShortDividesLongAndInterpolatesBetween) {
  RopeConfig rope{.type = RopeConfig::Type::kLlama3,
                  .theta = 10000.0,
                  .factor = 8.0,
                  .original_positions = 200,
                  .low_freq_factor = 1.0,
                  .high_freq_factor = 4.0};
  // Wavelengths 2 pi / frequency: 6.28 < 200/4 is kept; 62.8 lies between 50 and 200; 628 and 6283 > 200/1 are divided
  // by 8. Between: smooth = (200/62.83 - 1) / (4 - 1) = 0.72770, frequency = 0.1 * ((1 - 0.72770)/8 + 0.72770) =
  // 0.0761739.
  const std::vector<float> frequencies = rope_frequencies(rope, 8);
  EXPECT_NEAR(frequencies[0], 1.0, 1e-7);
  const double smooth = (200.0 / (20.0 * std::numbers::pi) - 1.0) / 3.0;
  EXPECT_NEAR(frequencies[1], 0.1 * ((1.0 - smooth) / 8.0 + smooth), 1e-8);
  EXPECT_NEAR(frequencies[1], 0.0761739, 1e-6);
  EXPECT_NEAR(frequencies[2], 0.01 / 8.0, 1e-9);
  EXPECT_NEAR(frequencies[3], 0.001 / 8.0, 1e-10);
}

TEST(Rope, LinearDividesEveryFrequency) {
  const std::vector<float> plain = rope_frequencies({}, 8);
  const std::vector<float> scaled = rope_frequencies({.type = RopeConfig::Type::kLinear, .factor = 4.0}, 8);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(scaled[i], plain[i] / 4.0F);
}

TEST(Rope, DynamicGrowsThetaOnceTheSequenceIsLongerThanTheOriginalPositions) {
  const RopeConfig rope{.type = RopeConfig::Type::kDynamic, .factor = 2.0, .original_positions = 100};
  EXPECT_EQ(rope_frequencies(rope, 4, 100), rope_frequencies({}, 4));
  // Length 150: theta * (2 * 150/100 - 1)^(4/2) = 10000 * 2^2, whose square root is 200.
  const std::vector<float> grown = rope_frequencies(rope, 4, 150);
  EXPECT_EQ(grown[0], 1.0F);
  EXPECT_NEAR(grown[1], 1.0 / 200.0, 1e-9);
}

TEST(Rope, ADynamicPrefillIsTurnedByItsOwnLengthAndLaterPositionsEachByTheLengthTheyMake) {
  const RopeConfig rope{.type = RopeConfig::Type::kDynamic, .factor = 2.0, .original_positions = 100};
  const RopeTable prefill = rope_table(rope, 4, 0, 150);
  EXPECT_NEAR(prefill.sine(100, 1), std::sin(100.0 / 200.0), 1e-6);
  const RopeTable chunk = rope_table(rope, 4, 150, 2);
  for (Index row = 0; row < 2; ++row) {
    EXPECT_EQ(chunk.cosine.row(row), rope_table(rope, 4, 150 + row, 1).cosine.row(0));
  }
  EXPECT_EQ(chunk.sine.row(1), rope_table(rope_frequencies(rope, 4, 152), 151, 1).sine.row(0));
}

TEST(Rope, YarnKeepsFastPairsDividesSlowOnesAndMixesBetween) {
  // theta = 10000, d = 8: pair i turns 200 * 10^-i / (2 pi) times in 200 positions: 31.8, 3.18, 0.318, 0.0318.
  // beta_fast = 31.8 is pair 0, beta_slow = 0.318 pair 2: pair 1 is half of each.
  const double turns = 200.0 / (2.0 * std::numbers::pi);
  const RopeConfig rope{.type = RopeConfig::Type::kYarn,
                        .factor = 4.0,
                        .original_positions = 200,
                        .beta_fast = turns,
                        .beta_slow = turns / 100.0,
                        .truncate = false};
  const std::vector<float> frequencies = rope_frequencies(rope, 8);
  EXPECT_NEAR(frequencies[0], 1.0, 1e-6);
  EXPECT_NEAR(frequencies[1], 0.1 * (0.5 + 0.5 / 4.0), 1e-7);
  EXPECT_NEAR(frequencies[2], 0.01 / 4.0, 1e-8);
  EXPECT_NEAR(frequencies[3], 0.001 / 4.0, 1e-9);
}

TEST(Rope, TheAttentionFactorMultipliesCosineAndSine) {
  const RopeConfig rope{.type = RopeConfig::Type::kYarn, .original_positions = 200, .attention_factor = 1.5};
  const RopeTable table = rope_table(rope, 8, 0, 1);
  EXPECT_EQ(table.cosine(0, 0), 1.5F);
  EXPECT_EQ(table.sine(0, 0), 0.0F);
}

TEST(Rope, ElementITurnsWithElementIPlusHalf) {
  // One frequency pair of 1 radian and one of 0: position 2 turns (1, 0) in elements 0 and 2 to (cos 2, sin 2).
  const std::vector<float> frequencies = {1.0F, 0.0F};
  const RopeTable table = rope_table(frequencies, 2, 1);
  trace::RowMatrix vector(1, 4);
  vector << 1.0F, 5.0F, 0.0F, 7.0F;
  trace::RowMatrix turned(1, 4);
  rotate(vector, table, turned);
  EXPECT_NEAR(turned(0, 0), std::cos(2.0), 1e-6);
  EXPECT_EQ(turned(0, 1), 5.0F);
  EXPECT_NEAR(turned(0, 2), std::sin(2.0), 1e-6);
  EXPECT_EQ(turned(0, 3), 7.0F);
}

TEST(Rope, ProductsDependOnTheDistanceAlone) {
  const std::vector<float> frequencies = rope_frequencies({}, 16);
  const trace::RowMatrix query = trace::RowMatrix::Random(1, 16);
  const trace::RowMatrix key = trace::RowMatrix::Random(1, 16);
  const auto product = [&](Index query_position, Index key_position) {
    trace::RowMatrix q(1, 16);
    trace::RowMatrix k(1, 16);
    rotate(query, rope_table(frequencies, query_position, 1), q);
    rotate(key, rope_table(frequencies, key_position, 1), k);
    return q.row(0).dot(k.row(0));
  };
  EXPECT_NEAR(product(9, 2), product(107, 100), 1e-4);
  EXPECT_GT(std::abs(product(9, 2) - product(9, 3)), 1e-3);
}

TEST(Rope, ATableContinuesAtItsFirstPosition) {
  const std::vector<float> frequencies = rope_frequencies({}, 8);
  const RopeTable whole = rope_table(frequencies, 0, 10);
  const RopeTable rest = rope_table(frequencies, 6, 4);
  EXPECT_EQ(rest.cosine, whole.cosine.bottomRows(4));
  EXPECT_EQ(rest.sine, whole.sine.bottomRows(4));
}

}  // namespace
}  // namespace evictlab::runtime
