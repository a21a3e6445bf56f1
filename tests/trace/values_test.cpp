#include "trace/values.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "sample.hpp"
#include "trace/model.hpp"

namespace evictlab::trace {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// 37 prompt positions, 4 future ones, window 9; layer 1 sees 12 positions.
class Values : public ::testing::Test {
 protected:
  LayerData& layer(std::size_t number) { return prompt_.layers[number]; }
  std::string problem(Field field, std::size_t number = 0, bool learned_sink = false) {
    const LayerData& data = layer(number);
    return value_problem(field, data[field], data.shape, {.learned_sink = learned_sink});
  }
  /// A row of window attention with one probability, of the last query.
  void pay(std::size_t number, Index position, float probability) {
    std::vector<float> row(37);
    row[static_cast<std::size_t>(position)] = probability;
    layer(number).window_attention.set_row(2, 8, row);
  }

  MemoryTrace::Prompt prompt_ = sample_prompt("a", 1);
};

TEST_F(Values, AttentionAsRecordedIsSound) {
  for (std::size_t number = 0; number < 3; ++number) {
    for (const Field field : kAllFields) EXPECT_THAT(problem(field, number), IsEmpty()) << field_name(field);
  }
}

TEST_F(Values, ResidualNormsAreThoseOfTwoVectorsAndTheirSum) {
  const auto with = [&](float stream, float output, float sum) {
    Tensor& norms = layer(0).residual_norms;
    for (const auto& [row, value] :
         {std::pair{Index{0}, stream}, std::pair{Index{1}, output}, std::pair{Index{2}, sum}}) {
      norms.set_row(row, 0, std::vector<float>{1.0F, value, 1.0F, 1.0F});
    }
    return problem(Field::kResidualNorms);
  };
  for (const float sum : {1.0F, 4.0F, 7.0F, 0.97F, 7.03F}) EXPECT_THAT(with(3.0F, 4.0F, sum), IsEmpty()) << sum;
  EXPECT_THAT(with(3.0F, 4.0F, 7.1F), HasSubstr("future query 1: vectors of norms 3 and 4 have no sum of norm 7.1"));
  EXPECT_THAT(with(3.0F, 4.0F, 0.9F), HasSubstr("have no sum of norm 0.9"));
  EXPECT_THAT(with(-3.0F, 4.0F, 1.0F), HasSubstr("stream 0: -3 at [0, 1]"));
  EXPECT_THAT(with(3.0F, kNan, 4.0F), HasSubstr("nan"));
}

// A row of 37 positions may be off by 2^-11 + 37 * 2^-25 / 2^15 + 1e-5 = 0.00049828. Halves just below 2^-6 are
// multiples of 2^-17 of the scale, so that this sum is as it is said, to within 4e-6.
TEST_F(Values, RowsJustInsideTheToleranceAreSoundAndJustOutsideAreNot) {
  for (const auto& [off, low, high] : {std::tuple{-0.00051F, true, false}, std::tuple{-0.00049F, false, false},
                                       std::tuple{0.00049F, false, false}, std::tuple{0.00051F, false, true}}) {
    std::vector<float> row(37);
    for (int i = 1; i <= 6; ++i) row[static_cast<std::size_t>(i)] = std::ldexp(1.0F, -i);
    row[20] = 0x1p-6F + off;
    layer(0).window_attention.set_row(2, 8, row);
    EXPECT_EQ(!problem(Field::kWindowAttention).empty(), low || high) << off;
    EXPECT_EQ(!problem(Field::kWindowAttention, 0, true).empty(), high) << off << " beside a learned sink";
  }
}

TEST_F(Values, RowsThatNoQueryPaysAreNamed) {
  pay(0, 3, 1.5F);  // 2 or more times 2^15 would be infinite in half precision
  EXPECT_EQ(problem(Field::kWindowAttention), "head 2: the row of query 36 sums to 1.500000, not 1");
  EXPECT_EQ(problem(Field::kWindowAttention, 0, true), "head 2: the row of query 36 sums to 1.500000, more than 1");
  pay(0, 3, 2.0F);
  EXPECT_EQ(problem(Field::kWindowAttention),
            "head 2: query 36: attention to position 3 is inf, no probability: not finite");
  pay(0, 3, kNan);
  EXPECT_EQ(problem(Field::kWindowAttention),
            "head 2: query 36: attention to position 3 is nan, no probability: not finite");
  pay(0, 3, -1.0F);
  EXPECT_EQ(problem(Field::kWindowAttention),
            "head 2: query 36: attention to position 3 is -1, no probability: negative");
  pay(0, 3, 0.0F);
  EXPECT_EQ(problem(Field::kWindowAttention), "head 2: the row of query 36 sums to 0.000000, not 1");
  EXPECT_THAT(problem(Field::kWindowAttention, 0, true), IsEmpty());
}

TEST_F(Values, ARowMayEndWhereItsSlidingWindowDoesAndNotBefore) {
  pay(1, 25, 1.0F);
  EXPECT_THAT(problem(Field::kWindowAttention, 1), IsEmpty());
  for (const bool learned_sink : {false, true}) {
    pay(1, 24, 1.0F);
    EXPECT_EQ(problem(Field::kWindowAttention, 1, learned_sink),
              "head 2: query 36 attends to position 24, but sees only 25 to 36");
  }
}

TEST_F(Values, ANegativeZeroIsAZero) {
  std::vector<float> row(37);
  row[3] = 1.0F;
  row[4] = -0.0F;
  layer(0).window_attention.set_row(2, 8, row);
  EXPECT_THAT(problem(Field::kWindowAttention), IsEmpty());
  layer(1).future_mass.floats()[0] = -0.0F;
  EXPECT_THAT(problem(Field::kFutureMass, 1), IsEmpty());
}

/// A head's future mass with all of it on two positions.
void share_future(LayerData& layer, Index position, float mass, Index other, float rest) {
  std::vector<float> row(41);
  row[static_cast<std::size_t>(position)] += mass;
  row[static_cast<std::size_t>(other)] += rest;
  layer.future_mass.set_row(1, 0, row);
}

TEST_F(Values, MassJustInsideTheToleranceIsSoundAndJustOutsideIsNot) {
  // Four queries: 4 in all, to within 4e-4.
  for (const auto& [mass, low, high] :
       {std::tuple{4.0005F, false, true}, std::tuple{4.0003F, false, false}, std::tuple{3.9997F, false, false},
        std::tuple{3.9995F, true, false}, std::tuple{60000.0F, false, true}}) {
    share_future(layer(0), 0, mass / 2, 5, mass / 2);
    EXPECT_EQ(!problem(Field::kFutureMass).empty(), low || high) << mass;
    EXPECT_EQ(!problem(Field::kFutureMass, 0, true).empty(), high) << mass << " beside a learned sink";
  }
}

TEST_F(Values, APositionHasNoMoreMassThanTheQueriesThatSeeIt) {
  // Position 39 is seen by the queries 39 and 40.
  share_future(layer(0), 39, 2.0001F, 0, 1.9999F);
  EXPECT_THAT(problem(Field::kFutureMass), IsEmpty());
  share_future(layer(0), 39, 2.0003F, 0, 1.9997F);
  for (const bool learned_sink : {false, true}) {
    EXPECT_EQ(problem(Field::kFutureMass, 0, learned_sink),
              "head 1: position 39 has mass 2.0003, but only 2 queries see it");
  }
  // Beyond the sliding window of 12: 26 is seen by the query 37 alone, 25 by none.
  share_future(layer(1), 26, 1.0F, 37, 3.0F);
  EXPECT_THAT(problem(Field::kFutureMass, 1), IsEmpty());
  share_future(layer(1), 25, 1.0F, 37, 3.0F);
  EXPECT_THAT(problem(Field::kFutureMass, 1), HasSubstr("position 25 has mass 1, but only 0 queries see it"));
}

TEST_F(Values, AMassThatIsNoNumberIsNamed) {
  for (const auto& [mass, text] : {std::pair{kNan, "nan"}, std::pair{kInfinity, "inf"}, std::pair{-0.5F, "-0.5"}}) {
    layer(0).attention_mass.floats()[37 + 4] = mass;
    EXPECT_EQ(problem(Field::kAttentionMass),
              std::string("head 1: ") + text + " at [0, 4], must be finite and not negative");
  }
}

// Blocks of positions are looked at as one: whether one is too large must not depend on its place in them.
TEST(LongMass, EveryPositionIsHeldToTheQueriesThatSeeIt) {
  constexpr Index kLength = 3000;
  LayerShape shape{.query_heads = 1, .kv_heads = 1, .prompt_length = kLength, .future_length = 1, .window = 1};
  for (const Index sliding : {Index{0}, Index{1100}}) {
    shape.sliding_window = sliding;
    for (const Index position : {0, 1, 1023, 1024, 1900, 2047, 2048, 2998, 2999}) {
      const Index seen_by = sliding == 0 ? kLength - position : std::min(kLength - position, sliding);
      for (const float factor : {1.0F, 1.001F}) {
        Tensor mass(ElementType::kFloat32, 1, 1, kLength);
        const float own = static_cast<float>(seen_by) * factor;
        // The rest on the early positions, a little each.
        for (float& other : mass.floats().first(1800)) other = std::max(0.0F, (kLength - own) / 1800.0F);
        const float before = mass.floats()[static_cast<std::size_t>(position)];
        mass.floats()[static_cast<std::size_t>(position)] = own;
        mass.floats()[position == 7 ? 8 : 7] += before;
        const std::string problem = value_problem(Field::kAttentionMass, mass, shape);
        if (factor == 1.0F) {
          EXPECT_THAT(problem, IsEmpty()) << position;
        } else {
          EXPECT_THAT(problem, HasSubstr("position " + std::to_string(position) + " has mass")) << position;
        }
      }
    }
  }
}

TEST_F(Values, StatesThatAreNotFiniteAreNamed) {
  layer(0).keys.floats()[7] = kNan;
  EXPECT_EQ(problem(Field::kKeys), "head 0: nan at [1, 2], must be finite");
  layer(2).query_mean.floats()[6] = -kInfinity;
  EXPECT_EQ(problem(Field::kQueryMean, 2), "head 1: -inf at [0, 1], must be finite");
  layer(0).output_norms.floats()[3] = -1.0F;
  EXPECT_EQ(problem(Field::kOutputNorms), "head 0: -1 at [0, 3], must be finite and not negative");
  layer(0).query_covariance.floats()[6] = -1.0F;
  EXPECT_EQ(problem(Field::kQueryCovariance), "head 0: the variance of dimension 1 is -1");
}

TEST_F(Values, EveryByteIsShownOnceAndInOrderAlsoAfterAProblem) {
  layer(0).window_attention.set_row(0, 0, std::vector<float>(37));
  for (const Field field : {Field::kWindowAttention, Field::kFutureMass, Field::kKeys}) {
    const Tensor& tensor = std::as_const(layer(0))[field];
    std::vector<std::byte> shown;
    value_problem(field, tensor, layer(0).shape, {.visit = [&](std::span<const std::byte> bytes) {
                    shown.insert(shown.end(), bytes.begin(), bytes.end());
                  }});
    EXPECT_TRUE(std::ranges::equal(shown, tensor.bytes())) << field_name(field);
  }
}

}  // namespace
}  // namespace evictlab::trace
