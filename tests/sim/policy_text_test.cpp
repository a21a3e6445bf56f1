#include "sim/policy/policy_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evictlab::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::ThrowsMessage;

TEST(PolicySpec, IsANameWithOrWithoutParameters) {
  EXPECT_EQ(parse_policy("full").name, "full");
  EXPECT_THAT(parse_policy("full").parameters, IsEmpty());
  EXPECT_THAT(parse_policy("full()").parameters, IsEmpty());
  const PolicySpec spec = parse_policy(" snapkv ( window = 32 , axis=query ) ");
  EXPECT_EQ(spec.name, "snapkv");
  EXPECT_THAT(spec.parameters, ElementsAre(Pair("window", "32"), Pair("axis", "query")));
}

TEST(PolicySpec, AListIsSplitAtCommasOutsideParentheses) {
  const auto specs = parse_policies("full,snapkv(window=8,kernel=5),random(seed=2)");
  ASSERT_EQ(specs.size(), 3U);
  EXPECT_EQ(specs[1].name, "snapkv");
  EXPECT_THAT(specs[1].parameters, ElementsAre(Pair("window", "8"), Pair("kernel", "5")));
  EXPECT_EQ(specs[2].name, "random");
}

TEST(PolicySpec, WhatIsNoPolicyIsRefusedInOneLine) {
  const auto message = [](const char* text, const char* part) {
    EXPECT_THAT([&] { parse_policies(text); }, ThrowsMessage<PolicyError>(HasSubstr(part))) << text;
  };
  message("", "an item is empty");
  message("full,", "an item is empty");
  message(",full", "an item is empty");
  message("snapkv(window=8", "'(' without ')'");
  message("snapkv)window=8(", "')' without '('");
  message("(window=8)", "a name must come before '('");
  message("snapkv(window=8)x", "nothing may follow ')'");
  message("snapkv(window)", "expected key=value, got 'window'");
  message("snapkv(window=)", "expected key=value, got 'window='");
  message("snapkv(=8)", "expected key=value, got '=8'");
  message("snapkv(window=8,,kernel=5)", "an item is empty");
  message("snapkv(window=8,window=9)", "window is given twice");
  EXPECT_THAT([] { parse_policy("full,oracle"); }, ThrowsMessage<PolicyError>(HasSubstr("not a list")));
}

}  // namespace
}  // namespace evictlab::sim
