#include "runtime/sampling.hpp"

#include <cmath>
#include <limits>
#include <map>

#include "model_files.hpp"
#include "runtime/model_error.hpp"

namespace evictlab::runtime {
namespace {

using ::testing::HasSubstr;

std::map<std::int32_t, int> count_draws(const SamplingOptions& options, const std::vector<float>& logits, int draws) {
  Sampler sampler(options);
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.next(logits)];
  return counts;
}

// Probabilities .5, .25, .125, .125.
const std::vector<float> kLogits = {std::log(.125F), std::log(.5F), std::log(.25F), std::log(.125F)};

TEST(Greedy, TakesTheLowestOfEqualIds) {
  EXPECT_EQ(greedy_token(std::vector<float>{1.0F, 3.0F, 3.0F, 2.0F}), 1);
  EXPECT_EQ(Sampler({}).next(std::vector<float>{-1.0F, -1.0F}), 0);
}

TEST(Sampling, DrawsInProportionToTheProbabilities) {
  const auto counts = count_draws({.temperature = 1.0, .seed = 1}, kLogits, 8000);
  // Five standard deviations of a binomial count: 5 sqrt(8000 * .5 * .5) = 224.
  EXPECT_NEAR(counts.at(1), 4000, 224);
  EXPECT_NEAR(counts.at(2), 2000, 194);
  EXPECT_NEAR(counts.at(0), 1000, 148);
  EXPECT_NEAR(counts.at(3), 1000, 148);
}

TEST(Sampling, TemperatureSharpens) {
  // At 0.5 weights are squared: .25, .0625, 2 * .015625 of .34375: the first has 8/11.
  const auto counts = count_draws({.temperature = 0.5, .seed = 2}, kLogits, 8000);
  EXPECT_NEAR(counts.at(1), 8000 * 8.0 / 11.0, 200);
}

TEST(Sampling, TopKKeepsTheKMostProbableWithLowerIdsFirst) {
  const auto counts = count_draws({.temperature = 1.0, .top_k = 3, .seed = 3}, kLogits, 2000);
  EXPECT_EQ(counts.size(), 3U);
  EXPECT_FALSE(counts.contains(3));
}

TEST(Sampling, TopPKeepsTheFewestThatReachIt) {
  EXPECT_EQ(count_draws({.temperature = 1.0, .top_p = 0.49, .seed = 4}, kLogits, 500).size(), 1U);
  EXPECT_EQ(count_draws({.temperature = 1.0, .top_p = 0.51, .seed = 4}, kLogits, 500).size(), 2U);
  EXPECT_EQ(count_draws({.temperature = 1.0, .top_p = 0.8, .seed = 4}, kLogits, 500).size(), 3U);
}

TEST(Sampling, TheSeedDecides) {
  const auto sequence = [](std::uint64_t seed) {
    Sampler sampler({.temperature = 1.0, .seed = seed});
    std::vector<std::int32_t> ids;
    for (int i = 0; i < 40; ++i) ids.push_back(sampler.next(kLogits));
    return ids;
  };
  EXPECT_EQ(sequence(5), sequence(5));
  EXPECT_NE(sequence(5), sequence(6));
}

TEST(Sampling, TheGeneratorIsSplitMix64) {
  // SplitMix64's first output for seed 0 is e220a8397b1dcdaf: the fraction 0.8833. Over equal weights of
  // 1000 tokens, taken in ascending id, that is token 883.
  EXPECT_EQ(Sampler({.temperature = 1.0, .seed = 0}).next(std::vector<float>(1000, 0.0F)), 883);
}

TEST(Sampling, OptionsOutOfRangeAndLogitsThatAreNoNumbersAreRefused) {
  EXPECT_THAT(testing::refusal<ModelError>([] { Sampler sampler({.temperature = -1.0}); }),
              HasSubstr("temperature is -1"));
  EXPECT_THAT(testing::refusal<ModelError>([] { Sampler sampler({.top_p = 0.0}); }), HasSubstr("top_p is 0"));
  EXPECT_THAT(testing::refusal<ModelError>([] { Sampler sampler({.top_p = 1.5}); }), HasSubstr("top_p is 1.5"));
  Sampler sampler({.temperature = 1.0});
  EXPECT_THAT(testing::refusal<ModelError>([&] {
                sampler.next(std::vector<float>{0.0F, std::nanf("")});
              }),
              HasSubstr("not numbers"));
}

}  // namespace
}  // namespace evictlab::runtime
