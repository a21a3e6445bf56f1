#include "runtime/tokenizer/tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "small_tokenizer.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Tokenizer, MergesTheEarliestPairFirst) {
  // abcab: a+b is merge 0, so ab c ab; then ab+c is merge 1.
  EXPECT_THAT(parse(small_document()).encode("abcab", false).ids, ElementsAre(5, 4));
  json document = small_document();
  // With b+c before a+b: a bc, and a+bc has no merge.
  document["model"]["vocab"]["bc"] = 6;
  document["model"]["merges"] = {"b c", "a b"};
  EXPECT_THAT(parse(document).encode("abcab", false).ids, ElementsAre(0, 6, 4));
}

TEST(Tokenizer, IgnoreMergesTakesAWholeWordOfTheVocabulary) {
  json document = small_document();
  document["model"]["merges"] = json::array();
  EXPECT_THAT(parse(document).encode("abc", false).ids, ElementsAre(0, 1, 2));
  document["model"]["ignore_merges"] = true;
  EXPECT_THAT(parse(document).encode("abc", false).ids, ElementsAre(5));
}

TEST(Tokenizer, UnknownCharactersBecomeTheUnknownTokenBytesOrNothing) {
  json document = small_document();
  const Encoding each = parse(document).encode("axyb", false);
  EXPECT_THAT(each.ids, ElementsAre(0, 3, 3, 1));
  document["model"]["fuse_unk"] = true;
  const Encoding fused = parse(document).encode("axyb", false);
  EXPECT_THAT(fused.ids, ElementsAre(0, 3, 1));
  EXPECT_EQ(fused.ranges[1], (ByteRange{1, 3}));
  document["model"]["unk_token"] = nullptr;
  const Encoding dropped = parse(document).encode("axyb", false);
  EXPECT_THAT(dropped.ids, ElementsAre(4));  // what is left are neighbours, and merge
  EXPECT_THAT(dropped.ranges, ElementsAre(ByteRange{0, 4}));
  document["model"]["byte_fallback"] = true;
  document["model"]["vocab"]["<0x78>"] = 6;  // x
  EXPECT_THAT(parse(document).encode("axyb", false).ids, ElementsAre(0, 6, 1));
}

TEST(Tokenizer, TemplateTokensComeOnlyOnRequestAndHaveEmptyRanges) {
  json document = small_document();
  document["added_tokens"] = {added_token(6, "<s>", true), added_token(7, "</s>", true)};
  document["post_processor"] = json::parse(R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "</s>", "type_id": 0}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [6]}, "</s>": {"id": "</s>", "ids": [7]}}})");
  const Tokenizer tokenizer = parse(document);
  EXPECT_THAT(tokenizer.encode("ab", false).ids, ElementsAre(4));
  const Encoding encoding = tokenizer.encode("ab", true);
  EXPECT_THAT(encoding.ids, ElementsAre(6, 4, 7));
  EXPECT_THAT(encoding.ranges, ElementsAre(ByteRange{0, 0}, ByteRange{0, 2}, ByteRange{2, 2}));
  EXPECT_THAT(tokenizer.encode("", true).ids, ElementsAre(6, 7));
  EXPECT_EQ(tokenizer.decode(encoding.ids, true), "ab");
  EXPECT_EQ(tokenizer.decode(encoding.ids, false), "<s>ab</s>");
  EXPECT_THAT(tokenizer.special_token_ids(), ElementsAre(6, 7));
}

TEST(Tokenizer, AddedTokensTakeTheLongestAndMindWordsAndSpaces) {
  json document = small_document();
  document["added_tokens"] = {added_token(6, "<x"), added_token(7, "<x>"), added_token(8, "b"), added_token(9, "!")};
  document["added_tokens"][2]["id"] = 1;  // "b" is in the vocabulary
  document["added_tokens"][2]["single_word"] = true;
  document["added_tokens"][3]["id"] = 8;
  document["added_tokens"][3]["lstrip"] = true;
  const Tokenizer tokenizer = parse(document);
  EXPECT_THAT(tokenizer.encode("<x><xab", false).ids, ElementsAre(7, 6, 4));
  const Encoding stripped = tokenizer.encode("a \t!", false);
  EXPECT_THAT(stripped.ids, ElementsAre(0, 8));
  EXPECT_EQ(stripped.ranges[1], (ByteRange{1, 4}));
  // As a word of its own b is an added token; inside ab it is left to the model.
  EXPECT_THAT(tokenizer.encode("ab", false).ids, ElementsAre(4));
}

TEST(Tokenizer, RangesPointIntoTheTextBeforeNormalization) {
  json document = small_document();
  document["normalizer"] = {{"type", "NFC"}};
  document["model"]["vocab"]["\u00e9"] = 6;
  // a, e + U+0301 (2 bytes), b: the composed character comes from all 3 bytes.
  const Encoding composed = parse(document).encode("ae\u0301b", false);
  EXPECT_THAT(composed.ids, ElementsAre(0, 6, 1));
  EXPECT_THAT(composed.ranges, ElementsAre(ByteRange{0, 1}, ByteRange{1, 4}, ByteRange{4, 5}));
  // NFD splits é (2 bytes): e and U+0301, both unknown, come from the same character.
  document["normalizer"] = {{"type", "NFD"}};
  const Encoding split = parse(document).encode("\u00e9", false);
  EXPECT_THAT(split.ids, ElementsAre(3, 3));
  EXPECT_THAT(split.ranges, ElementsAre(ByteRange{0, 2}, ByteRange{0, 2}));
  // xyz is replaced by ab: one token from three bytes.
  document["normalizer"] = {{"type", "Replace"}, {"pattern", {{"String", "xyz"}}}, {"content", "ab"}};
  const Encoding replaced = parse(document).encode("cxyzc", false);
  EXPECT_THAT(replaced.ids, ElementsAre(2, 5));
  EXPECT_THAT(replaced.ranges, ElementsAre(ByteRange{0, 1}, ByteRange{1, 5}));
}

TEST(Tokenizer, TokensOfARangeAreThoseThatTouchIt) {
  // Token 0 is of a template; 1 and 2 share a character of two bytes; nothing came from bytes 6 and 7.
  const Encoding encoding{{0, 1, 2, 3, 4}, {{0, 0}, {0, 2}, {0, 2}, {2, 6}, {8, 9}}};
  EXPECT_EQ(tokens_of(encoding, {0, 2}), (TokenRange{1, 3}));
  EXPECT_EQ(tokens_of(encoding, {1, 3}), (TokenRange{1, 4}));
  EXPECT_EQ(tokens_of(encoding, {2, 6}), (TokenRange{3, 4}));
  EXPECT_EQ(tokens_of(encoding, {5, 9}), (TokenRange{3, 5}));
  EXPECT_EQ(tokens_of(encoding, {6, 8}), (TokenRange{4, 4}));
  EXPECT_EQ(tokens_of(encoding, {9, 9}), (TokenRange{5, 5}));
}

TEST(Tokenizer, TextsThatAreNotUtf8AreRefusedAtTheByte) {
  const Tokenizer tokenizer = parse(small_document());
  for (const auto& [text, byte] : std::vector<std::pair<std::string, int>>{{"ab\xFF", 2},
                                                                           {"\x80", 0},
                                                                           {"a\xC3", 1},
                                                                           {"a\xC0\xAF", 1},
                                                                           {"ab\xED\xA0\x80", 2},
                                                                           {"\xF4\x90\x80\x80", 0}}) {
    const std::string message = error_of([&, &bad = text] { tokenizer.encode(bad, true); });
    EXPECT_EQ(message, "text is not valid UTF-8 at byte " + std::to_string(byte));
  }
  EXPECT_THAT(error_of([] { code_point_offsets("a\xFF"); }), HasSubstr("byte 1"));
}

TEST(Tokenizer, CodePointOffsetsCountCharacters) {
  // a (1 byte), é (2), 漢 (3), U+1F600 (4).
  EXPECT_THAT(code_point_offsets("a\u00e9\u6f22\U0001F600"), ElementsAre(0, 1, 3, 6, 10));
  EXPECT_THAT(code_point_offsets(""), ElementsAre(0));
}

TEST(Tokenizer, DecodingLeavesOutUnknownIdsAndReplacesWhatIsNotUtf8) {
  json document = small_document();
  EXPECT_EQ(parse(document).decode(std::vector<std::int32_t>{0, -1, 99, 1}, false), "ab");
  document["decoder"] = nullptr;
  EXPECT_EQ(parse(document).decode(std::vector<std::int32_t>{0, 1}, false), "a b");
  document["decoder"] = {{"type", "ByteLevel"}};
  document["model"]["vocab"]["\u00c3"] = 6;  // stands for byte C3, the start of a character
  EXPECT_EQ(parse(document).decode(std::vector<std::int32_t>{0, 6, 1}, false), "a\uFFFDb");
}

TEST(Tokenizer, TokensAndIdsAreFoundBothWays) {
  json document = small_document();
  document["added_tokens"] = {added_token(6, "<s>", true)};
  const Tokenizer tokenizer = parse(document);
  EXPECT_EQ(tokenizer.vocab_size(), 7);
  EXPECT_EQ(tokenizer.token_to_id("abc"), 5);
  EXPECT_EQ(tokenizer.token_to_id("<s>"), 6);
  EXPECT_EQ(tokenizer.token_to_id("abcd"), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(6), "<s>");
  EXPECT_EQ(tokenizer.id_to_token(7), std::nullopt);
  EXPECT_EQ(tokenizer.id_to_token(-1), std::nullopt);
}

TEST(Tokenizer, LoadsAFileAndNamesTheFileThatIsWrong) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory / "good.json") << small_document();
  EXPECT_THAT(Tokenizer::load(directory / "good.json").encode("ab", true).ids, ElementsAre(4));
  std::ofstream(directory / "bad.json") << "{\"model\": ";
  EXPECT_THAT(error_of([&] { Tokenizer::load(directory / "bad.json"); }),
              HasSubstr("bad.json: not valid JSON at byte"));
  EXPECT_THROW(Tokenizer::load(directory / "none.json"), core::InputError);
}

TEST(Tokenizer, AWordOfAMegabyteIsTokenized) {
  std::string text;
  for (int i = 0; i < 350'000; ++i) text += "abc";
  const Encoding encoding = parse(small_document()).encode(text, true);
  EXPECT_THAT(encoding.ids, ::testing::Each(5));
  EXPECT_EQ(encoding.ids.size(), 350'000U);
}

}  // namespace
}  // namespace evictlab::runtime
