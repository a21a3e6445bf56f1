#include "plots/report/look.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace evictlab::plots {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(Look, CellsAreAsSmallAsTheyMayBe) {
  EXPECT_EQ(cell_size(100, 100), 1U);
  EXPECT_EQ(cell_size(101, 100), 2U);
  EXPECT_EQ(cell_size(1000, 256), 4U);
}

TEST(Look, PoolingLosesNoPeak) {
  const float values[] = {0.1F, 0.5F, 0.2F, 0.0F, 0.9F};
  EXPECT_THAT(pooled(values, 2), ElementsAre(0.5F, 0.2F, 0.9F));
  EXPECT_THAT(pooled(values, 1), ElementsAre(0.1F, 0.5F, 0.2F, 0.0F, 0.9F));
}

TEST(Look, SharesAreQuantisedOnALogarithmicScale) {
  EXPECT_EQ(quantised(1.0F), 255);
  EXPECT_EQ(quantised(0.01F), 128);  // two of four decades
  EXPECT_EQ(quantised(0.0001F), 0);
  EXPECT_EQ(quantised(0.0F), 0);
  EXPECT_EQ(quantised(1e-9F), 0);
}

TEST(Look, ACellIsKeptWhenAnyOfItsPositionsIs) {
  const std::int32_t positions[] = {0, 5, 17};
  EXPECT_THAT(cell_bits(positions, 1, 18), ElementsAre(0b00100001, 0, 0b10));
  EXPECT_THAT(cell_bits(positions, 4, 5), ElementsAre(0b10011));  // cells 0, 1, 4
}

TEST(Look, JsonStandsInAScriptElementWhateverTheTextSays) {
  Look look{.policies = {"snapkv"}, .budgets = {"64"}, .prompts = {}};
  look.prompts.push_back({.id = "</script><script>alert(1)", .positions = 2, .texts = {"\xE2\x80\xA8", "<!--"}});
  look.prompts.back().window = {0, 255, 7};
  const std::string text = look_json(look);
  EXPECT_THAT(text, Not(HasSubstr("<")));
  EXPECT_THAT(text, Not(HasSubstr("\xE2\x80\xA8")));
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["prompts"][0]["id"], "</script><script>alert(1)");
  EXPECT_EQ(json["prompts"][0]["texts"][0], "\xE2\x80\xA8");
  EXPECT_EQ(json["prompts"][0]["window"], "AP8H");
}

TEST(Look, BytesArePaddedBase64) {
  Look look;
  for (const std::size_t count : {1, 2, 3}) {
    look.prompts.push_back({});
    look.prompts.back().window.assign(count, 0xFF);
  }
  const auto json = nlohmann::json::parse(look_json(look));
  EXPECT_EQ(json["prompts"][0]["window"], "/w==");
  EXPECT_EQ(json["prompts"][1]["window"], "//8=");
  EXPECT_EQ(json["prompts"][2]["window"], "////");
}

}  // namespace
}  // namespace evictlab::plots
