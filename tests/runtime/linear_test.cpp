#include "runtime/linear.hpp"

#include <array>
#include <cmath>
#include <random>

#include "core/half.hpp"
#include "core/parallel.hpp"

namespace evictlab::runtime {
namespace {

RowMatrix random_weights(Index rows, Index columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  RowMatrix matrix(rows, columns);
  for (Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = normal(random);
  return matrix;
}

WeightMatrix stored(const RowMatrix& weight) {
  return {core::StorageType::kFloat32, std::as_bytes(std::span(weight.data(), static_cast<std::size_t>(weight.size()))),
          weight.rows(), weight.cols()};
}

TEST(Linear, EqualsTheProductByDefinitionForAllSizesAroundTheBlocks) {
  for (const Index m : {1, 3, 256, 300}) {
    for (const Index out : {1, 63, 64, 130}) {
      const Index in = 37;
      const RowMatrix weight = random_weights(out, in, 1);
      const RowMatrix x = random_weights(m, in, 2);
      Linear linear{.weight = stored(weight), .bias = std::vector<float>(static_cast<std::size_t>(out), 0.5F)};
      linear.bias.back() = -3.0F;
      RowMatrix y(m, out);
      apply(linear, x, y);
      for (Index row = 0; row < m; ++row) {
        for (Index column = 0; column < out; ++column) {
          double expected = linear.bias[static_cast<std::size_t>(column)];
          for (Index i = 0; i < in; ++i)
            expected += static_cast<double>(x(row, i)) * static_cast<double>(weight(column, i));
          ASSERT_NEAR(y(row, column), expected, 1e-4) << m << " x " << out << " at " << row << ", " << column;
        }
      }
    }
  }
}

// Sizes around those of tiles, expanded columns and blocks of tokens.
TEST(Linear, LargeProductsEqualTheirDefinitionToRoundingForAnyNumberOfThreads) {
  for (const auto& [m, out, in] : {std::array<Index, 3>{9, 129, 300}, {48, 7, 256}, {49, 200, 513}, {1057, 9, 40}}) {
    const RowMatrix weight = random_weights(out, in, 5);
    const RowMatrix x = random_weights(m, in, 6);
    const Linear linear{.weight = stored(weight), .bias = {}};
    core::set_threads(1);
    RowMatrix y(m, out);
    apply(linear, x, y);
    core::set_threads(3);
    RowMatrix by_three(m, out);
    apply(linear, x, by_three);
    core::set_threads(0);
    EXPECT_EQ(y, by_three);
    const Eigen::MatrixXd expected = x.cast<double>() * weight.cast<double>().transpose();
    const Eigen::MatrixXd bound = x.cast<double>().cwiseAbs() * weight.cast<double>().transpose().cwiseAbs() *
                                  (static_cast<double>(in) * 0x1p-24);
    EXPECT_TRUE(((y.cast<double>() - expected).cwiseAbs().array() <= bound.array()).all())
        << m << " " << out << " " << in;
  }
}

// Sizes around those of tiles, expanded rows and blocks of stored numbers, and rows in another order.
TEST(Linear, TransposedProductsEqualTheirDefinitionToRoundingForAnyNumberOfThreads) {
  for (const auto& [m, out, in] : {std::array<Index, 3>{1, 12, 5}, {9, 300, 129}, {48, 256, 7}, {49, 520, 513}}) {
    const RowMatrix values = random_weights(out, in, 9);
    const RowMatrix x = random_weights(m, out, 10);
    for (const WeightMatrix& weight : {stored(values), stored(values).reordered(rows_of_adjacent_pairs(2, out / 2))}) {
      RowMatrix own(out, in);
      weight.copy_rows(0, {own.data(), static_cast<std::size_t>(own.size())});
      core::set_threads(1);
      RowMatrix y(m, in);
      apply_transposed(weight, x, y);
      core::set_threads(3);
      RowMatrix by_three(m, in);
      apply_transposed(weight, x, by_three);
      core::set_threads(0);
      EXPECT_EQ(y, by_three);
      const Eigen::MatrixXd expected = x.cast<double>() * own.cast<double>();
      const Eigen::MatrixXd bound =
          x.cast<double>().cwiseAbs() * own.cast<double>().cwiseAbs() * (static_cast<double>(out) * 0x1p-24);
      EXPECT_TRUE(((y.cast<double>() - expected).cwiseAbs().array() <= bound.array()).all())
          << m << " " << out << " " << in;
    }
  }
}

TEST(Linear, RowsInAnotherOrderGiveTheirOwnProducts) {
  const RowMatrix weight = random_weights(12, 70, 7);
  const Linear pairs{.weight = stored(weight).reordered(rows_of_adjacent_pairs(2, 6)), .bias = {}};
  const Linear plain{.weight = stored(weight), .bias = {}};
  for (const Index m : {1, 20}) {
    const RowMatrix x = random_weights(m, 70, 8);
    RowMatrix of_pairs(m, 12);
    RowMatrix of_plain(m, 12);
    apply(pairs, x, of_pairs);
    apply(plain, x, of_plain);
    const std::array<Index, 12> order = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
    for (Index row = 0; row < 12; ++row) {
      EXPECT_EQ(RowMatrix(of_pairs.col(row)), RowMatrix(of_plain.col(order[static_cast<std::size_t>(row)])));
    }
  }
}

TEST(Linear, HalfWeightsGiveWhatTheirFloatsGive) {
  const RowMatrix weight = random_weights(70, 20, 3);
  std::vector<core::Half> halves(static_cast<std::size_t>(weight.size()));
  core::to_half({weight.data(), halves.size()}, halves);
  RowMatrix rounded(70, 20);
  core::to_float(halves, {rounded.data(), halves.size()});
  const RowMatrix x = random_weights(5, 20, 4);
  RowMatrix from_halves(5, 70);
  RowMatrix from_floats(5, 70);
  apply({.weight = {core::StorageType::kFloat16, std::as_bytes(std::span(halves)), 70, 20}, .bias = {}}, x,
        from_halves);
  apply({.weight = stored(rounded), .bias = {}}, x, from_floats);
  EXPECT_EQ(from_halves, from_floats);
}

TEST(RmsNorm, FollowsItsFormula) {
  // mean square of (3, 4) is 12.5; with eps 3.5 the root is 4: (3, 4) / 4 * (2, -1) = (1.5, -1).
  RowMatrix x(1, 2);
  x << 3.0F, 4.0F;
  RowMatrix y(1, 2);
  const std::vector<float> weight = {2.0F, -1.0F};
  rms_norm(x, weight, 3.5, y);
  EXPECT_FLOAT_EQ(y(0, 0), 1.5F);
  EXPECT_FLOAT_EQ(y(0, 1), -1.0F);
}

TEST(Silu, GatesWhatGoesUpAlsoFarFromZero) {
  RowMatrix gate(1, 5);
  gate << 0.0F, 1.0F, -1.0F, 200.0F, -200.0F;
  RowMatrix up(1, 5);
  up << 7.0F, 2.0F, 2.0F, 1.0F, 1.0F;
  gate_with_silu(gate, up);
  EXPECT_EQ(gate(0, 0), 0.0F);
  EXPECT_NEAR(gate(0, 1), 2.0 / (1.0 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(gate(0, 2), -2.0 / (1.0 + std::exp(1.0)), 1e-6);
  EXPECT_EQ(gate(0, 3), 200.0F);
  EXPECT_NEAR(gate(0, 4), 0.0, 1e-30);
}

}  // namespace
}  // namespace evictlab::runtime
