#include "sim/policy/parameters.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::sim {
namespace {

ParameterList declared() {
  ParameterList list;
  list.integer("window", 32, {1, 64}, "last queries")
      .integer("kernel", 7, {1, 255, true}, "pooled over")
      .number("floor", 0.2, {0.0, 1.0}, "share")
      .choice("pooling", {"max", "avg"}, "how");
  return list;
}

Parameters make(const KeyValues& given) { return {"policy 'snapkv'", declared(), given}; }

std::string error_of(const KeyValues& given) {
  try {
    make(given);
  } catch (const PolicyError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Parameters, AreTheDefaultsUnlessGiven) {
  const Parameters parameters = make({{"kernel", "5"}, {"pooling", "avg"}});
  EXPECT_EQ(parameters.integer("window"), 32);
  EXPECT_EQ(parameters.integer("kernel"), 5);
  EXPECT_EQ(parameters.number("floor"), 0.2);
  EXPECT_EQ(parameters.choice("pooling"), "avg");
}

TEST(Parameters, CanonicalTextHoldsAllInDeclaredOrderWhateverTheOrderGiven) {
  EXPECT_EQ(make({{"pooling", "avg"}, {"window", "8"}}).text(), "window=8,kernel=7,floor=0.2,pooling=avg");
  EXPECT_EQ(make({{"floor", "0.20"}}).text(), make({}).text());
}

TEST(Parameters, ChangesHoldOnlyWhatDiffersFromTheDefault) {
  EXPECT_EQ(make({{"pooling", "avg"}, {"window", "32"}}).changes(), "pooling=avg");
  EXPECT_EQ(make({}).changes(), "");
}

TEST(Parameters, AnUnknownNameIsRefusedWithTheNearestOne) {
  EXPECT_EQ(error_of({{"windw", "3"}}), "policy 'snapkv' has no parameter 'windw', did you mean 'window'?");
  EXPECT_EQ(error_of({{"zzz", "3"}}), "policy 'snapkv' has no parameter 'zzz'; known: window, kernel, floor, pooling");
}

TEST(Parameters, AValueNotAllowedIsRefusedSayingWhatIs) {
  EXPECT_EQ(error_of({{"window", "0"}}), "policy 'snapkv': window must be a whole number in 1..64, got '0'");
  EXPECT_EQ(error_of({{"window", "65"}}), "policy 'snapkv': window must be a whole number in 1..64, got '65'");
  EXPECT_EQ(error_of({{"window", "3.5"}}), "policy 'snapkv': window must be a whole number in 1..64, got '3.5'");
  EXPECT_EQ(error_of({{"kernel", "4"}}), "policy 'snapkv': kernel must be an odd whole number in 1..255, got '4'");
  EXPECT_EQ(error_of({{"floor", "1.1"}}), "policy 'snapkv': floor must be a number in 0..1, got '1.1'");
  EXPECT_EQ(error_of({{"floor", "nan"}}), "policy 'snapkv': floor must be a number in 0..1, got 'nan'");
  EXPECT_EQ(error_of({{"pooling", "min"}}), "policy 'snapkv': pooling must be one of max, avg, got 'min'");
}

TEST(Parameters, BothEndsOfARangeAreAllowed) {
  EXPECT_EQ(make({{"window", "1"}}).integer("window"), 1);
  EXPECT_EQ(make({{"window", "64"}}).integer("window"), 64);
}

TEST(Parameters, APolicyWithoutParametersSaysSo) {
  EXPECT_THAT(
      [] {
        Parameters("policy 'full'", ParameterList(), {{"window", "3"}});
      },
      ::testing::ThrowsMessage<PolicyError>("policy 'full' takes no parameters, got 'window'"));
}

TEST(Parameters, ReadingOneThatWasNotDeclaredIsAFaultOfTheProgram) {
  EXPECT_THROW(make({}).integer("sinks"), std::logic_error);
  EXPECT_THROW(declared().integer("window", 1, {0, 1}, "again"), std::logic_error);
}

}  // namespace
}  // namespace evictlab::sim
