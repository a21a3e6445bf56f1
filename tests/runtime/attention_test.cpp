#include "runtime/attention.hpp"

#include <algorithm>
#include <cmath>
#include <random>

namespace evictlab::runtime {
namespace {

RowMatrix random_matrix(Index rows, Index columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  RowMatrix matrix(rows, columns);
  for (Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = normal(random);
  return matrix;
}

RowMatrixView view(const RowMatrix& matrix) {
  return {matrix.data(), matrix.rows(), matrix.cols(), Eigen::OuterStride<>(matrix.cols())};
}

/// Rows by definition, in double: [m, slots].
Eigen::MatrixXd naive_probabilities(const RowMatrix& queries, const RowMatrix& keys, double scale) {
  const Index before = keys.rows() - queries.rows();
  Eigen::MatrixXd rows = Eigen::MatrixXd::Zero(queries.rows(), keys.rows());
  for (Index i = 0; i < queries.rows(); ++i) {
    double sum = 0.0;
    for (Index j = 0; j <= before + i; ++j) {
      rows(i, j) = std::exp(scale * queries.row(i).cast<double>().dot(keys.row(j).cast<double>()));
      sum += rows(i, j);
    }
    rows.row(i) /= sum;
  }
  return rows;
}

struct Result {
  RowMatrix output;
  RowMatrix probabilities;  // [m, slots]
};

Result run(const RowMatrix& queries, const RowMatrix& keys, const RowMatrix& values, float scale) {
  Result result{RowMatrix(queries.rows(), queries.cols()), RowMatrix::Constant(queries.rows(), keys.rows(), 0.0F)};
  Index next = 0;
  causal_attention(view(queries), view(keys), view(values), scale, result.output,
                   [&](Index first, const RowMatrixView& rows) {
                     EXPECT_EQ(first, next) << "rows come in ascending order, each once";
                     next = first + rows.rows();
                     result.probabilities.block(first, 0, rows.rows(), rows.cols()) = rows;
                   });
  EXPECT_EQ(next, queries.rows());
  return result;
}

TEST(Attention, EqualsItsDefinitionForSizesAroundTheBlocks) {
  const Index d = 12;
  for (const Index m : {1, 5, 64, 65, 150}) {
    for (const Index before : {0, 1, 70}) {
      const RowMatrix queries = random_matrix(m, d, 1);
      const RowMatrix keys = random_matrix(before + m, d, 2);
      const RowMatrix values = random_matrix(before + m, d, 3);
      const Result result = run(queries, keys, values, 0.7F);
      const Eigen::MatrixXd expected = naive_probabilities(queries, keys, static_cast<double>(0.7F));
      EXPECT_LT((result.probabilities.cast<double>() - expected).cwiseAbs().maxCoeff(), 1e-6)
          << m << " after " << before;
      EXPECT_LT((result.output.cast<double>() - expected * values.cast<double>()).cwiseAbs().maxCoeff(), 1e-5);
    }
  }
}

TEST(Attention, SlotsAfterAQueryAreExactlyZeroAndRowsSumToOne) {
  const RowMatrix queries = random_matrix(100, 8, 4);
  const RowMatrix keys = random_matrix(130, 8, 5);
  const Result result = run(queries, keys, keys, 1.0F);
  for (Index i = 0; i < 100; ++i) {
    EXPECT_NEAR(result.probabilities.row(i).cast<double>().sum(), 1.0, 1e-6);
    for (Index j = 30 + i + 1; j < 130; ++j) ASSERT_EQ(result.probabilities(i, j), 0.0F);
  }
}

TEST(Attention, IsStableForScoresWhoseExponentialsOverflow) {
  // Scores 0 and 1000: all weight goes to the second key.
  RowMatrix queries(2, 1);
  queries << 0.0F, 1000.0F;
  RowMatrix keys(2, 1);
  keys << 0.0F, 1.0F;
  RowMatrix values(2, 1);
  values << 3.0F, 4.0F;
  const Result result = run(queries, keys, values, 1.0F);
  EXPECT_EQ(result.output(0, 0), 3.0F);
  EXPECT_EQ(result.output(1, 0), 4.0F);
  EXPECT_NEAR(result.probabilities(1, 0), 0.0, 1e-30);
}

TEST(OutputNorms, AreL1NormsOfProjectedValues) {
  // (1, 2) * ((1, -1, 0), (0, 3, -1)) = (1, 5, -2): norm 8.
  RowMatrix values(1, 2);
  values << 1.0F, 2.0F;
  RowMatrix weight(2, 3);
  weight << 1.0F, -1.0F, 0.0F, 0.0F, 3.0F, -1.0F;
  EXPECT_THAT(output_norms(view(values), view(weight)), ::testing::ElementsAre(8.0F));
}

TEST(OutputNorms, EqualTheirDefinitionOverManyBlocks) {
  const RowMatrix values = random_matrix(300, 6, 6);
  const RowMatrix weight = random_matrix(6, 21, 7);
  const std::vector<float> norms = output_norms(view(values), view(weight));
  ASSERT_EQ(norms.size(), 300U);
  for (Index j = 0; j < 300; ++j) {
    const double expected = (values.row(j).cast<double>() * weight.cast<double>()).cwiseAbs().sum();
    EXPECT_NEAR(norms[static_cast<std::size_t>(j)], expected, 1e-4);
  }
}

/// 150 queries are three blocks; the first 10 of the 160 slots were there before.
void expect_windowed(const std::vector<std::int32_t>& positions) {
  const RowMatrix queries = random_matrix(150, 8, 5);
  const RowMatrix keys = random_matrix(160, 8, 6);
  const RowMatrix values = random_matrix(160, 8, 7);
  const Index size = 20;
  RowMatrix output(150, 8);
  RowMatrix probabilities = RowMatrix::Zero(150, 160);
  causal_attention(
      view(queries), view(keys), view(values), 0.5F, output,
      [&](Index first, const RowMatrixView& rows) { probabilities.block(first, 0, rows.rows(), rows.cols()) = rows; },
      {size, positions});
  for (Index i = 0; i < 150; ++i) {
    const Index query = 10 + i;
    Eigen::RowVectorXd expected = Eigen::RowVectorXd::Zero(160);
    for (Index j = 0; j <= query; ++j) {
      if (positions[query] - positions[j] >= size) continue;
      expected(j) = std::exp(0.5 * queries.row(i).cast<double>().dot(keys.row(j).cast<double>()));
    }
    expected /= expected.sum();
    EXPECT_LT((probabilities.row(i).cast<double>() - expected).cwiseAbs().maxCoeff(), 1e-6) << i;
    for (Index j = 0; j < 160; ++j) EXPECT_EQ(expected(j) == 0.0, probabilities(i, j) == 0.0F);
    EXPECT_LT((output.row(i).cast<double>() - expected * values.cast<double>()).cwiseAbs().maxCoeff(), 1e-5) << i;
  }
}

/// With a gap where something was evicted, after position 29.
std::vector<std::int32_t> positions_with_a_gap() {
  std::vector<std::int32_t> positions;
  for (std::int32_t slot = 0; slot < 160; ++slot) positions.push_back(slot < 30 ? slot : slot + 5);
  return positions;
}

TEST(CausalAttention, ASlidingWindowShowsTheLastPositionsAlone) { expect_windowed(positions_with_a_gap()); }

TEST(CausalAttention, ASlidingWindowShowsTheLastPositionsWhateverTheOrderACompactedCacheHoldsThemIn) {
  std::vector<std::int32_t> positions = positions_with_a_gap();
  std::reverse(positions.begin(), positions.begin() + 10);
  expect_windowed(positions);
}

}  // namespace
}  // namespace evictlab::runtime
