#include "core/attention_rows.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/attention_kernels.hpp"

namespace evictlab::core {
namespace {

struct Case {
  std::size_t dim = 0;
  float scale = 1;
  std::vector<float> queries;  // [R, dim]
  std::vector<float> keys;     // [n, dim], halves' values
  std::vector<Half> halves;    // the same
  std::vector<VisibleKeys> visible;

  std::size_t key_count() const { return keys.size() / dim; }
  std::size_t size() const { return visible.size() * key_count(); }
};

// Queries and keys of independent components; logits have about the given standard deviation. Every query sees all
// keys.
Case random_case(std::size_t queries, std::size_t keys, std::size_t dim, float deviation) {
  std::mt19937_64 random(1000 * queries + 10 * keys + dim);
  std::normal_distribution<float> normal;
  Case made;
  made.dim = dim;
  made.scale = deviation / std::sqrt(static_cast<float>(dim));
  for (std::size_t i = 0; i < queries * dim; ++i) made.queries.push_back(normal(random));
  for (std::size_t i = 0; i < keys * dim; ++i) made.halves.push_back(to_half(normal(random)));
  for (const Half half : made.halves) made.keys.push_back(to_float(half));
  made.visible.assign(queries, {0, keys});
  return made;
}

std::vector<float> rows_of(const AttentionKernels& kernels, const Case& given, bool halves) {
  std::vector<float> rows(given.size(), -1.0F);
  if (halves) {
    attention_rows(kernels, given.queries, std::span<const Half>(given.halves), given.dim, given.scale, given.visible,
                   rows);
  } else {
    attention_rows(kernels, given.queries, std::span<const float>(given.keys), given.dim, given.scale, given.visible,
                   rows);
  }
  return rows;
}

struct Expected {
  std::vector<double> rows;
  std::vector<double> error;  // how far a weight can be off, relatively
};

// The definition, in double. Every rounding is by at most 2^-24: of the sums of products so far, whose number is at
// most 32 and those of 32 each; of the differences of logits and their multiples; and of what follows, together 2^-21.
Expected by_definition(const Case& given) {
  const std::size_t n = given.key_count();
  const double sums = 33 + static_cast<double>(given.dim) / 32;
  Expected expected{std::vector<double>(given.size()), std::vector<double>(given.size())};
  for (std::size_t r = 0; r < given.visible.size(); ++r) {
    const auto [begin, end] = given.visible[r];
    double* row = expected.rows.data() + r * n;
    double* error = expected.error.data() + r * n;
    double largest = -std::numeric_limits<double>::infinity();
    double largest_error = 0;
    for (std::size_t j = begin; j < end; ++j) {
      for (std::size_t i = 0; i < given.dim; ++i) {
        const double product = double{given.queries[r * given.dim + i]} * double{given.keys[j * given.dim + i]};
        row[j] += double{given.scale} * product;
        error[j] += 0x1p-24 * sums * double{given.scale} * std::abs(product);
      }
      largest_error = std::max(largest_error, error[j]);
      largest = std::max(largest, row[j]);
    }
    double sum = 0;
    for (std::size_t j = begin; j < end; ++j) {
      error[j] += largest_error + 0x1p-22 * std::abs(row[j] - largest) + 0x1p-21;
      row[j] = std::exp(row[j] - largest);
      sum += row[j];
    }
    for (std::size_t j = begin; j < end; ++j) row[j] /= sum;
  }
  return expected;
}

// All implementations, on halves and on floats, give the same bits, and those are what the definition says.
void expect_right(const Case& given, const std::string& what) {
  const std::vector<float> rows = rows_of(attention_kernels().back(), given, false);
  for (const AttentionKernels& kernels : attention_kernels()) {
    if (!kernels.supported) continue;
    for (const bool halves : {false, true}) {
      const std::vector<float> others = rows_of(kernels, given, halves);
      for (std::size_t i = 0; i < rows.size(); ++i) {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(others[i]), std::bit_cast<std::uint32_t>(rows[i]))
            << what << ", " << kernels.name << (halves ? " of halves" : " of floats") << ", element " << i;
      }
    }
  }
  const Expected expected = by_definition(given);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    ASSERT_NEAR(rows[i], expected.rows[i], expected.rows[i] * expected.error[i] + std::exp(-87.0)) << what << ", " << i;
  }
}

TEST(AttentionRows, AreTheSoftmaxOfScaledProductsInEveryImplementation) {
  for (const std::size_t dim : {8U, 12U, 16U, 64U, 128U, 129U}) {
    for (const std::size_t queries : {1U, 8U, 13U}) {
      // Around the 16 lanes of a vector, the 48 keys of a tile and the 384 of a block.
      for (const std::size_t keys : {1U, 15U, 16U, 49U, 383U, 384U, 385U, 1001U}) {
        expect_right(random_case(queries, keys, dim, 1.5F),
                     std::to_string(queries) + " queries, " + std::to_string(keys) + " keys of " + std::to_string(dim));
      }
    }
  }
}

TEST(AttentionRows, AreWithinAMillionthForLogitsOfOrdinarySize) {
  const Case given = random_case(32, 2000, 128, 1.0F);
  const Expected expected = by_definition(given);
  std::vector<float> rows(given.size());
  attention_rows(given.queries, std::span<const Half>(given.halves), given.dim, given.scale, given.visible, rows);
  for (std::size_t i = 0; i < rows.size(); ++i) ASSERT_NEAR(rows[i] / expected.rows[i], 1.0, 1e-6) << i;
}

TEST(AttentionRows, CoverOnlyWhatAQuerySees) {
  Case given = random_case(70, 900, 24, 2.0F);
  std::mt19937_64 random(5);
  for (std::size_t r = 0; r < given.visible.size(); ++r) {
    // Causal, in sliding windows from a single key to several blocks, nothing at all, and arbitrary ranges.
    const std::size_t end = 831 + r;
    const std::size_t begin = random() % end;
    given.visible[r] = r % 4 == 0   ? VisibleKeys{0, end}
                       : r % 4 == 1 ? VisibleKeys{end - 1 - random() % 500, end}
                       : r % 4 == 2 ? VisibleKeys{end, end}
                                    : VisibleKeys{begin, begin + random() % (end - begin)};
  }
  expect_right(given, "ranges");
}

TEST(AttentionRows, DependOnNothingButTheirOwnQueryAndKeys) {
  const Case given = random_case(21, 777, 40, 3.0F);
  const std::vector<float> together = rows_of(attention_kernels().back(), given, true);
  for (std::size_t r = 0; r < given.visible.size(); ++r) {
    Case alone = given;
    const auto query = given.queries.begin() + static_cast<std::ptrdiff_t>(r * given.dim);
    alone.queries.assign(query, query + static_cast<std::ptrdiff_t>(given.dim));
    alone.visible.assign(1, given.visible[r]);
    const auto row = together.begin() + static_cast<std::ptrdiff_t>(r * given.key_count());
    EXPECT_EQ(rows_of(attention_kernels().back(), alone, true),
              std::vector<float>(row, row + static_cast<std::ptrdiff_t>(given.key_count())));
  }
}

TEST(AttentionRows, SurviveLargeLogits) {
  expect_right(random_case(9, 1200, 64, 40.0F), "logits of some hundred");
  // Logits 20000, 19999 and -20000 far apart, so that each is in a block of its own: e^0 and e^-1, and the last is 0.
  Case given;
  given.dim = 1;
  given.queries = {200};
  given.keys.assign(1000, -100);
  given.keys[0] = 100;
  given.keys[999] = 99.995F;
  given.visible = {{0, 1000}};
  std::vector<float> rows(1000);
  attention_rows(given.queries, std::span<const float>(given.keys), 1, 1.0F, given.visible, rows);
  EXPECT_NEAR(rows[0], 1 / (1 + std::exp(-1.0)), 1e-3);  // floats are 2^-9 apart at 20000
  EXPECT_NEAR(rows[999], 1 / (1 + std::exp(1.0)), 1e-3);
  EXPECT_EQ(rows[500], 0);
  EXPECT_NEAR(rows[0] + rows[999], 1, 1e-6);
}

TEST(AttentionRows, AreUniformWhereTheScaleIsZero) {
  Case given = random_case(3, 500, 8, 0.0F);
  given.visible[1] = {100, 350};
  expect_right(given, "scale 0");
  EXPECT_FLOAT_EQ(rows_of(attention_kernels().back(), given, false)[500 + 120], 1.0F / 250);
}

TEST(AttentionRows, SumToOne) {
  const Case given = random_case(16, 5000, 32, 4.0F);
  std::vector<float> rows(given.size());
  attention_rows(given.queries, std::span<const float>(given.keys), given.dim, given.scale, given.visible, rows);
  for (std::size_t r = 0; r < 16; ++r) {
    double sum = 0;
    for (std::size_t j = 0; j < 5000; ++j) sum += double{rows[r * 5000 + j]};
    EXPECT_NEAR(sum, 1, 1e-6);
  }
}

TEST(AttentionRows, OfNoQueriesOrNoKeysAreNone) {
  std::vector<float> rows;
  const std::vector<float> eight(8, 1.0F);
  const std::vector<VisibleKeys> one(1);
  EXPECT_NO_THROW(attention_rows({}, std::span<const float>(eight), 4, 1.0F, {}, rows));
  EXPECT_NO_THROW(attention_rows(eight, std::span<const float>(), 8, 1.0F, one, rows));
}

TEST(AttentionRows, RefuseSizesAndRangesThatContradict) {
  const std::vector<float> queries(8);
  const std::span<const float> keys(queries);  // two of 4, as the queries are
  std::vector<float> rows(4);
  const std::vector<VisibleKeys> two = {{0, 2}, {1, 2}};
  EXPECT_NO_THROW(attention_rows(queries, keys, 4, 1.0F, two, rows));
  EXPECT_THROW(attention_rows(queries, keys, 0, 1.0F, two, rows), std::invalid_argument);
  EXPECT_THROW(attention_rows(queries, keys, 3, 1.0F, two, rows), std::invalid_argument);
  EXPECT_THROW(attention_rows(queries, keys, 4, -1.0F, two, rows), std::invalid_argument);
  EXPECT_THROW(attention_rows(queries, keys, 4, std::nanf(""), two, rows), std::invalid_argument);
  EXPECT_THROW(attention_rows(queries, keys, 4, 1.0F, two, std::span(rows).first(3)), std::invalid_argument);
  EXPECT_THROW(attention_rows(queries, keys, 4, 1.0F, std::vector<VisibleKeys>{{0, 2}, {1, 3}}, rows),
               std::invalid_argument);
  EXPECT_THROW(attention_rows(queries, keys, 4, 1.0F, std::vector<VisibleKeys>{{0, 2}, {2, 1}}, rows),
               std::invalid_argument);
}

TEST(AttentionKernels, TheLastOneRunsEverywhere) { EXPECT_TRUE(attention_kernels().back().supported); }

// Over the whole range that weights come from, each within 2^-22 of its value.
TEST(AttentionKernels, ExponentialsAreAccurate) {
  std::vector<float> logits;
  for (int i = 0; i < 16 * 60'000; ++i) logits.push_back(-static_cast<float>(i) * 1e-4F);
  for (const AttentionKernels& kernels : attention_kernels()) {
    if (!kernels.supported) continue;
    std::vector<float> weights(logits.size());
    double sum = 0;
    EXPECT_EQ(kernels.exponentials(logits.data(), logits.size(), 1.0F, weights.data(), &sum), 0.0F);
    double expected_sum = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double expected = logits[i] >= -87.0F ? std::exp(double{logits[i]}) : 0.0;
      expected_sum += double{weights[i]};
      ASSERT_NEAR(weights[i], expected, 0x1p-22 * expected) << kernels.name << " " << logits[i];
    }
    EXPECT_NEAR(sum / expected_sum, 1, 1e-12);
  }
}

}  // namespace
}  // namespace evictlab::core
