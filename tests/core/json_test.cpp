#include "core/json.hpp"

#include <fstream>

#include "testing/temporary_directory.hpp"

namespace evictlab::core {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SettingsError : public InputError {
 public:
  using InputError::InputError;
};

JsonDocument parse(std::string_view text) { return JsonDocument::parse<SettingsError>(text, "s.json"); }

/// The message with which reading or `use` of the document's root refuses `text`.
template <typename Use>
std::string refusal(std::string_view text, const Use& use) {
  try {
    const JsonDocument document = parse(text);
    use(document.root());
  } catch (const SettingsError& error) {
    return error.what();
  }
  return "nothing was refused";
}

std::string refusal(std::string_view text) {
  return refusal(text, [](const JsonNode&) {});
}

TEST(Json, ValuesAreReadByTheirTypes) {
  const JsonDocument document =
      parse(R"({"text": "a", "flag": true, "count": 7, "share": 0.5, "list": [1, 2], "names": ["x"], "none": null})");
  const JsonNode root = document.root();
  EXPECT_EQ(root.at("text").string(), "a");
  EXPECT_TRUE(root.flag("flag"));
  EXPECT_EQ(root.at("count").integer(0, 7), 7);
  EXPECT_EQ(root.at("count").number(), 7.0);
  EXPECT_EQ(root.at("share").positive(), 0.5);
  EXPECT_THAT(root.at("list").integers(1, 2), ElementsAre(1, 2));
  EXPECT_THAT(root.at("names").strings(), ElementsAre("x"));
  EXPECT_EQ(root.size(), 7U);
  EXPECT_EQ(root.members().front().key, "count") << "members come in the order of their names";
}

TEST(Json, WhatIsMissingOrNullIsAbsent) {
  const JsonDocument document = parse(R"({"none": null})");
  const JsonNode root = document.root();
  EXPECT_TRUE(root.contains("none"));
  EXPECT_FALSE(root.find("none"));
  EXPECT_FALSE(root.find_string("other"));
  EXPECT_TRUE(root.flag("other", true));
  EXPECT_FALSE(root.find_integer("none", 0, 1));
}

TEST(Json, MessagesNameDocumentAndPath) {
  constexpr const char* kText = R"({"model": {"merges": ["a b", "b c", 3], "a key": {"0": -1}}})";
  EXPECT_EQ(refusal(kText, [](const JsonNode& root) { root.at("model").at("merges").strings(); }),
            "s.json: model.merges[2]: expected a string, got a number");
  EXPECT_EQ(refusal(kText, [](const JsonNode& root) { root.at("model").at("a key").at("0").integer(0, 9); }),
            "s.json: model['a key'].0: expected a whole number from 0 to 9, got -1");
  EXPECT_EQ(refusal(kText, [](const JsonNode& root) { root.at("modle"); }), "s.json: has no 'modle'");
  EXPECT_EQ(refusal("[]", [](const JsonNode& root) { root.at("model"); }), "s.json: expected an object, got an array");
  EXPECT_EQ(refusal("{}", [](const JsonNode& root) { root.items(); }), "s.json: expected an array, got an object");
}

TEST(Json, NumbersOfTheWrongKindOrOutOfRangeAreRefused) {
  const auto integer = [](const JsonNode& root) { root.integer(-5, 5); };
  EXPECT_THAT(refusal("1.5", integer), HasSubstr("expected a whole number from -5 to 5, got 1.5"));
  EXPECT_THAT(refusal("6", integer), HasSubstr("got 6"));
  EXPECT_THAT(refusal("18446744073709551615", integer), HasSubstr("got 18446744073709551615"));
  EXPECT_THAT(refusal("true", integer), HasSubstr("expected a whole number, got a boolean"));
  EXPECT_THAT(refusal("0", [](const JsonNode& root) { root.positive(); }), HasSubstr("above 0, got 0"));
  EXPECT_EQ(refusal("1e999"), "s.json: not valid JSON: a number is out of range");
}

TEST(Json, WhatIsNoJsonIsRefusedAtTheByte) {
  EXPECT_EQ(refusal(R"({"a": )"), "s.json: not valid JSON at byte 7");
  EXPECT_THAT(refusal(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("{} x"), HasSubstr("not valid JSON"));
  EXPECT_THAT(refusal("\"\xff\""), HasSubstr("not valid JSON"));
}

TEST(Json, ANameThatOccursTwiceIsRefused) {
  EXPECT_EQ(refusal(R"({"a": 1, "b": {"a": 2}, "a": 3})"), "s.json: the name 'a' occurs twice in an object");
  EXPECT_EQ(refusal(R"([{"a": 1}, {"a": 2}])"), "nothing was refused");
  EXPECT_THAT(refusal(R"({"a\n": 1, "\u0061\n": 3})"), HasSubstr("the name 'a\\x0a' occurs twice"));
}

TEST(Json, SixtyFourLevelsAreReadAndNoMore) {
  EXPECT_EQ(refusal(std::string(64, '[') + std::string(64, ']')), "nothing was refused");
  EXPECT_EQ(refusal(std::string(65, '[') + std::string(65, ']')), "s.json: nested more than 64 deep");
  EXPECT_EQ(refusal(std::string(1'000'000, '[')), "s.json: nested more than 64 deep");
}

TEST(Json, FilesAreNamedByTheirPath) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory / "a.json") << R"({"a": 1})";
  EXPECT_EQ(JsonDocument::read(directory / "a.json").root().at("a").integer(1, 1), 1);
  EXPECT_THROW(JsonDocument::read(directory / "none.json"), InputError);
  EXPECT_EQ(JsonDocument::empty("a.json").root().size(), 0U);
}

}  // namespace
}  // namespace evictlab::core
