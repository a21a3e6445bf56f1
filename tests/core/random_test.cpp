#include "core/random.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

namespace evictlab::core {
namespace {

using ::testing::ElementsAre;

std::vector<std::uint64_t> outputs(std::uint64_t seed, int count) {
  SplitMix64 random(seed);
  std::vector<std::uint64_t> numbers;
  for (int i = 0; i < count; ++i) numbers.push_back(random.next());
  return numbers;
}

TEST(SplitMix64, GivesThePublishedOutputs) {
  EXPECT_THAT(outputs(1234567, 5), ElementsAre(6457827717110365317U, 3203168211198807973U, 9817491932198370423U,
                                               4593380528125082431U, 16408922859458223821U));
}

TEST(SplitMix64, TheKthOutputIsTheMixOfTheSeedPlusKIncrements) {
  const std::vector<std::uint64_t> numbers = outputs(7, 4);
  EXPECT_EQ(numbers[3], SplitMix64::mix(7 + 4 * SplitMix64::kIncrement));
}

TEST(SplitMix64, SkippedOutputsAreLeftOut) {
  SplitMix64 random(7);
  random.next();
  random.skip(2);
  EXPECT_EQ(random.next(), outputs(7, 4)[3]);
}

// 6457827717110365317 / 2^64 = 0.350079..., 3203168211198807973 / 2^64 = 0.173644...
TEST(SplitMix64, UniformNumbersAreTheOutputsAsFractions) {
  SplitMix64 random(1234567);
  EXPECT_EQ(random.uniform(), static_cast<double>(6457827717110365317U >> 11U) / 9007199254740992.0);
  EXPECT_NEAR(random.uniform(), 0.173644, 1e-6);
}

// The largest output, 2^64-1, is the one after the seed 0x31628af67b2131ab (mix is a bijection): as a fraction, not
// rounded up.
TEST(SplitMix64, UniformNumbersStayBelowOne) {
  EXPECT_EQ(SplitMix64(0x31628af67b2131abU).next(), 0xffffffffffffffffU);
  EXPECT_EQ(SplitMix64(0x31628af67b2131abU).uniform(), 1.0 - 0x1p-53);
}

// The test vectors of FNV-1a's authors.
TEST(TextHash, GivesThePublishedValues) {
  EXPECT_EQ(text_hash(""), 0xcbf29ce484222325U);
  EXPECT_EQ(text_hash("a"), 0xaf63dc4c8601ec8cU);
  EXPECT_EQ(text_hash("foobar"), 0x85944171f73967e8U);
}

TEST(TextHash, SeesBytesAboveAsciiAndZeros) {
  EXPECT_NE(text_hash("\xc3\xa9"), text_hash("\xc3\xa8"));
  EXPECT_NE(text_hash(std::string_view("a\0", 2)), text_hash("a"));
}

}  // namespace
}  // namespace evictlab::core
