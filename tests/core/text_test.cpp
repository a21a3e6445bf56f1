#include "core/text.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace evictlab::core {
namespace {

const std::vector<std::string> kPolicies = {"snapkv", "streaming-llm", "oracle", "full"};

TEST(Text, NearestForgivesASlipOfThePen) {
  EXPECT_EQ(nearest("snapvk", kPolicies), "snapkv");  // 2 edits of 6 letters: a third
  EXPECT_EQ(nearest("snpavk", kPolicies), "");        // 3 edits: too far
  EXPECT_EQ(nearest("streaming_llm", kPolicies), "streaming-llm");
  EXPECT_EQ(nearest("ful", kPolicies), "full");
  EXPECT_EQ(nearest("full", kPolicies), "full");
}

TEST(Text, NearestPrefersTheSmallestDistanceAndThenTheFirst) {
  EXPECT_EQ(nearest("aaab", std::vector<std::string>{"aaac", "aaab"}), "aaab");
  EXPECT_EQ(nearest("aaax", std::vector<std::string>{"aaac", "aaab"}), "aaac");
}

TEST(Text, NearestOfSomethingElseIsNothing) {
  EXPECT_EQ(nearest("h2o", kPolicies), "");
  EXPECT_EQ(nearest("", kPolicies), "");
  EXPECT_EQ(nearest("snapkv", {}), "");
  EXPECT_EQ(nearest(std::string(1'000'000, 'x'), kPolicies), "");
}

TEST(Text, SuggestionNamesTheNearestOrAll) {
  EXPECT_EQ(suggestion("orcale", kPolicies), ", did you mean 'oracle'?");
  EXPECT_EQ(suggestion("x", kPolicies), "; known: snapkv, streaming-llm, oracle, full");
}

TEST(Text, IntegersAreReadWholeOrNotAtAll) {
  EXPECT_EQ(parse_integer("42"), 42);
  EXPECT_EQ(parse_integer("-7"), -7);
  EXPECT_EQ(parse_integer("9223372036854775807"), std::numeric_limits<std::int64_t>::max());
  for (const char* text : {"", " 1", "1 ", "1.0", "0x10", "9223372036854775808", "+1", "one", "--1"}) {
    EXPECT_EQ(parse_integer(text), std::nullopt) << text;
  }
}

TEST(Text, NumbersAreReadWholeAndFinite) {
  EXPECT_EQ(parse_number("0.05"), 0.05);
  EXPECT_EQ(parse_number("-1e3"), -1000.0);
  EXPECT_EQ(parse_number("12"), 12.0);
  for (const char* text : {"", "nan", "inf", "-inf", "1e999", "1.5x", " 1", "0x1p3", "1,5"}) {
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
  }
}

TEST(Text, SplitKeepsEmptyParts) {
  EXPECT_EQ(split("a,b", ','), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(split(",a,", ','), (std::vector<std::string>{"", "a", ""}));
  EXPECT_EQ(split("", ','), (std::vector<std::string>{""}));
}

TEST(Text, TrimTakesSpaceFromBothEndsOnly) {
  EXPECT_EQ(trim("  a b\t\r\n"), "a b");
  EXPECT_EQ(trim(" \n "), "");
  EXPECT_EQ(trim(""), "");
  EXPECT_EQ(trim("ab"), "ab");
}

TEST(Text, BytesAreShownWithThreeDigits) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(7), "7 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1 KiB");
  EXPECT_EQ(format_bytes(12 * 1024), "12 KiB");
  EXPECT_EQ(format_bytes(12.34 * 1024), "12.3 KiB");
  EXPECT_EQ(format_bytes(1.5 * 1024 * 1024 * 1024), "1.5 GiB");
  EXPECT_EQ(format_bytes(100.0 * 1024 * 1024), "100 MiB");
  EXPECT_EQ(format_bytes(0x1p80), "1048576 EiB");
}

}  // namespace
}  // namespace evictlab::core
