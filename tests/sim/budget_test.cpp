#include "sim/policy/budget.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// A slot is a key and a value of 32 two-byte elements: 128 B. Over 4 layers of 2 kv heads: 1024 B a slot.
trace::ModelInfo model() {
  trace::ModelInfo info;
  info.layers = 4;
  info.kv_heads = 2;
  info.head_dim = 32;
  return info;
}

std::vector<std::string> texts(std::string_view list) {
  std::vector<std::string> result;
  for (const Budget& budget : parse_budgets(list)) result.push_back(budget.text());
  return result;
}

Index slots(std::string_view item, Index n) { return parse_budgets(item).front().to_slots(model(), n); }

TEST(Budget, SlotsAreTakenAsTheyAre) {
  EXPECT_EQ(slots("128", 500), 128);
  EXPECT_EQ(parse_budgets("128").front().conversion(model(), 500), "");
}

TEST(Budget, ARatioIsOfThePromptRoundedDown) {
  EXPECT_EQ(slots("0.05", 508), 25);  // 25.4
  EXPECT_EQ(slots("0.29", 100), 29);  // 28.999... in binary
  EXPECT_EQ(slots("1.0", 508), 508);
  EXPECT_EQ(slots("0.001", 508), 0);
  EXPECT_EQ(parse_budgets("0.05").front().conversion(model(), 508), "0.05 of 508 positions = 25 slots");
}

TEST(Budget, PercentAreARatio) {
  EXPECT_EQ(slots("5%", 508), 25);
  EXPECT_EQ(slots("100%", 508), 508);
  EXPECT_THAT(texts("20%,0.2,12.5 %"), ElementsAre("0.2", "0.125"));
}

TEST(Budget, DecimalUnitsArePowersOfTen) {
  EXPECT_EQ(slots("100kB", 500), 97);    // 100000 / 1024 = 97.7
  EXPECT_EQ(slots("64MB", 500), 62500);  // 64000000 / 1024
  EXPECT_EQ(slots("1.5GB", 500), 1464843);
  EXPECT_THAT(texts("64MB,64MiB"), ElementsAre("64MB", "64MiB"));
}

TEST(Budget, BytesAreSharedByLayersAndKvHeads) {
  EXPECT_EQ(slots("100KiB", 500), 100);
  EXPECT_EQ(slots("1.5 KiB", 500), 1);
  EXPECT_EQ(slots("2048B", 500), 2);
  EXPECT_EQ(slots("1GiB", 500), 1 << 20);
  EXPECT_EQ(parse_budgets("64MiB").front().conversion(model(), 500),
            "64MiB over 4 layers x 2 kv heads x 128 B = 65536 slots");
}

TEST(Budget, ARangeHasEqualStepsOfTheLogarithmOrTheNumber) {
  EXPECT_THAT(texts("16:256:log5"), ElementsAre("16", "32", "64", "128", "256"));
  EXPECT_THAT(texts("10:50:lin5"), ElementsAre("10", "20", "30", "40", "50"));
}

TEST(Budget, EachIsListedOnceInTheOrderGiven) {
  EXPECT_THAT(texts("1:3:log6"), ElementsAre("1", "2", "3"));  // 1 1.25 1.55 1.93 2.41 3
  EXPECT_THAT(texts("64, 0.5, 64, 0.50, 32:64:lin2"), ElementsAre("64", "0.5", "32"));
}

TEST(Budget, WhatIsNoBudgetIsRefusedInOneLine) {
  const auto message = [](const char* text, const char* part) {
    EXPECT_THAT([&] { parse_budgets(text); }, ThrowsMessage<PolicyError>(HasSubstr(part))) << text;
  };
  message("0", "slots must be in 1..2147483648, got 0");
  message("-5", "slots must be in");
  message("99999999999", "slots must be in");
  message("0.0", "more than 0 and at most 1");
  message("-0.5", "more than 0 and at most 1");
  message("1.5", "more than 0 and at most 1");
  message("0B", "bytes must be more than 0");
  message("-1KiB", "bytes must be more than 0");
  message("5mb", "expected slots (128)");
  message("0%", "more than 0 and at most 1");
  message("101%", "more than 0 and at most 1");
  message("%", "expected slots (128)");
  message("many", "expected slots (128)");
  message("1.2.3", "expected slots (128)");
  message("nan", "expected slots (128)");
  message("", "an item is empty");
  message("16,,32", "an item is empty");
  message("16:32", "first:last:log<count>");
  message("32:16:log4", "the range must rise");
  message("16:32:log1", "2..4096 steps, got 1");
  message("16:32:log99999", "2..4096 steps");
  message("16:32:exp4", "ends with log<count> or lin<count>");
  message("16:32:log", "ends with log<count> or lin<count>");
  message("16:32:", "ends with log<count> or lin<count>");
  message("0:32:log4", "slots must be in");
  message("a:32:log4", "expected slots (128)");
}

}  // namespace
}  // namespace evictlab::sim
