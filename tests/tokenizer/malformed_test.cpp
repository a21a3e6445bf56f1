// Whatever stands in a tokenizer.json: it works, or one line says what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "small_tokenizer.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Change {
  std::string pointer;
  json value;
  std::string message;
};

TEST(MalformedTokenizer, SaysWhereAndWhatIsWrong) {
  const std::vector<Change> changes = {
      {"/model", nullptr, "model: expected an object, got a null"},
      {"/model/type", "WordPiece", "model.type: 'WordPiece' is not supported; known: BPE"},
      {"/model/vocab", json::array(), "model.vocab: expected an object, got an array"},
      {"/model/vocab/a", -1, "model.vocab.a: expected a whole number from 0 to 2097151, got -1"},
      {"/model/vocab/a", 1, "both have the id 1"},
      {"/model/vocab/a", 3000000000U, "model.vocab.a: expected a whole number from 0 to 2097151, got 3000000000"},
      {"/model/vocab/a", "0", "model.vocab.a: expected a whole number, got a string"},
      {"/model/vocab/a", 0.5, "model.vocab.a: expected a whole number from 0 to 2097151, got 0.5"},
      {"/model/merges/1", "a b c", "model.merges[1]: is no merge"},
      {"/model/merges/1", {"a"}, "model.merges[1]: is no merge"},
      {"/model/merges/1", {"a", "x"}, "model.merges[1]: needs the token 'x', which is not in the vocabulary"},
      {"/model/merges/1", {"a", "c"}, "model.merges[1]: needs the token 'ac'"},
      {"/model/unk_token", "<unk>", "model.unk_token: '<unk>' is not in the vocabulary"},
      {"/model/dropout", 0.1, "model.dropout: makes encoding random"},
      {"/model/continuing_subword_prefix", "##", "model.continuing_subword_prefix: '##' is not supported"},
      {"/model/end_of_word_suffix", "</w>", "model.end_of_word_suffix: '</w>' is not supported"},
      {"/model/fuse_unk", 1, "model.fuse_unk: expected true or false, got a number"},
      {"/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "ab"}}, "replacement: 'ab' is not one character"},
      {"/pre_tokenizer",
       {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}},
       "prepend_scheme: 'last' is no scheme; known: always, first, never"},
      {"/added_tokens", {{{"id", 6}}}, "added_tokens[0]: has no 'content'"},
      {"/added_tokens", {added_token(9, "<s>")}, "'<s>' has the id 9; its place after the other tokens gives it 6"},
      {"/added_tokens", {added_token(2, "ab")}, "'ab' has the id 2; the vocabulary gives it 4"},
      {"/added_tokens", {added_token(6, "")}, "added_tokens[0]: the content is empty"},
      {"/added_tokens", {added_token(6, "x"), added_token(7, "x")}, "added_tokens[1]: 'x' is listed twice"},
      {"/normalizer", {{"type", "BertNormalizer"}}, "normalizer.type: 'BertNormalizer' is not supported; known: NFC,"},
      {"/normalizer", {{"type", "a\nb"}}, "'a\\x0ab' is not supported"},
      {"/pre_tokenizer",
       {{"type", "Sequence"}, {"pretokenizers", {{{"type", "UnicodeScripts"}}}}},
       "pre_tokenizer.pretokenizers[0].type: 'UnicodeScripts' is not supported; known: ByteLevel, Split"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}},
       "pre_tokenizer.pattern.Regex: pattern '(a': end pattern with unmatched parenthesis"},
      {"/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"String", ""}}}, {"behavior", "Isolated"}}, "is empty"},
      {"/pre_tokenizer",
       {{"type", "Split"}, {"pattern", {{"String", " "}}}, {"behavior", "Kept"}},
       "pre_tokenizer.behavior: 'Kept' is no behavior; known: Removed"},
      {"/post_processor", {{"type", "PairProcessing"}}, "post_processor.type: 'PairProcessing' is not supported"},
      {"/post_processor", {{"type", "RobertaProcessing"}, {"cls", {"a"}}}, "cls: expected a token and its id"},
      {"/post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {{{"SpecialToken", {{"id", "x"}}}}, {{"Sequence", {{"id", "A"}}}}}},
        {"special_tokens", {{"x", {{"ids", {77}}}}}}},
       "post_processor: adds the id 77, which no token has"},
      {"/decoder", {{"type", "WordPiece"}}, "decoder.type: 'WordPiece' is not supported; known: ByteLevel"},
      {"/decoder", {{"type", "Strip"}, {"content", "ab"}, {"start", 1}, {"stop", 0}}, "'ab' is not one character"},
  };
  ASSERT_EQ(parse_error(small_document()), "");
  for (const Change& change : changes) {
    json document = small_document();
    document[json::json_pointer(change.pointer)] = change.value;
    const std::string message = parse_error(document);
    EXPECT_THAT(message, AllOf(StartsWith("t.json: "), HasSubstr(change.message), Not(HasSubstr("\n"))))
        << change.pointer << " = " << change.value;
  }
}

/// A document whose part of this name runs a step many times, each of which doubles the text.
json doubling(const std::string& part, const std::string& steps, const json& step) {
  json document = small_document();
  document[part] = {{"type", "Sequence"}, {steps, json(2000, step)}};
  return document;
}

TEST(MalformedTokenizer, StepsThatMultiplyATextAreStopped) {
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const json doubled = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aa"}};
  EXPECT_THAT(error_of([&] { parse(doubling("pre_tokenizer", "pretokenizers", bytes)).encode("\u00e9", false); }),
              HasSubstr("steps make more than"));
  EXPECT_THAT(error_of([&] { parse(doubling("normalizer", "normalizers", doubled)).encode("a", false); }),
              HasSubstr("steps make more than"));
  const std::vector<std::int32_t> ids = {0};
  EXPECT_THAT(error_of([&] { (void)parse(doubling("decoder", "decoders", doubled)).decode(ids, false); }),
              HasSubstr("steps make more than"));
}

TEST(MalformedTokenizer, RefusesWhatIsNoJsonAndMissingParts) {
  EXPECT_THAT(error_of([] { Tokenizer::parse("", "t.json"); }), HasSubstr("t.json: not valid JSON at byte"));
  EXPECT_THAT(error_of([] { Tokenizer::parse("[1]", "t.json"); }), HasSubstr("expected an object"));
  EXPECT_THAT(error_of([] { Tokenizer::parse("{}", "t.json"); }), HasSubstr("has no 'model'"));
  EXPECT_THAT(error_of([] { Tokenizer::parse("{\"a\": 1e999}", "t.json"); }), HasSubstr("not valid JSON"));
  EXPECT_THAT(error_of([] { Tokenizer::parse(std::string(100'000, '['), "t.json"); }), HasSubstr("nested"));
  EXPECT_THAT(error_of([] { Tokenizer::parse(R"({"model": {"vocab": {"a": 0, "a": 1}}})", "t.json"); }),
              HasSubstr("the name 'a' occurs twice"));
  for (const char* key : {"vocab", "merges"}) {
    json document = small_document();
    document["model"].erase(key);
    EXPECT_THAT(parse_error(document), HasSubstr(std::string("model: has no '") + key + "'"));
  }
}

std::string fixture() {
  std::ifstream file(std::string(EVICTLAB_TEST_DATA) + "/tokenizers/llama3_style.json", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Loads `content`; if that works, encodes and decodes. Anything but a TokenizerError of one line is a fault.
void expect_sound(const std::string& content) {
  const std::string message = error_of([&] {
    const Tokenizer tokenizer = Tokenizer::parse(content, "t.json");
    tokenizer.decode(tokenizer.encode("The caf\u00e9\u0301 returned 1234\n\n  <|end|>!", true).ids, false);
  });
  EXPECT_THAT(message, Not(HasSubstr("\n")));
}

TEST(MalformedTokenizer, TruncatedAnywhereItIsRefused) {
  const std::string content = fixture();
  ASSERT_GT(content.size(), 10'000U);
  for (std::size_t size = 0; size + 3 < content.size(); size += 97) {
    EXPECT_THAT(error_of([&] { Tokenizer::parse(content.substr(0, size), "t.json"); }), HasSubstr("not valid JSON"));
  }
}

TEST(MalformedTokenizer, WithAnyCharacterChangedItWorksOrIsRefused) {
  const std::string content = fixture();
  std::mt19937 random(1);
  // The components stand before the model and its long lists: half of the changes go there.
  const std::size_t head = content.find("\"model\"");
  for (int i = 0; i < 300; ++i) {
    std::string changed = content;
    const std::size_t limit = i % 2 == 0 ? head : content.size();
    for (int count = 0; count < 1 + i % 3; ++count) changed[random() % limit] = static_cast<char>(random() % 256);
    expect_sound(changed);
  }
}

TEST(MalformedTokenizer, WithAnyPatternItWorksOrIsRefused) {
  const std::string alphabet = "()[]{}|?*+\\^$.-:=!<>&,is pPLwWsSbdx1u3\xC3\xA9";
  std::mt19937 random(2);
  for (int i = 0; i < 4000; ++i) {
    std::string pattern;
    for (std::size_t length = 1 + random() % 12; pattern.size() < length;) {
      const char c = alphabet[random() % alphabet.size()];
      pattern += c == '\xC3' || c == '\xA9' ? "\u00e9" : std::string(1, c);
    }
    json document = small_document();
    document["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
    expect_sound(document.dump());
  }
}

}  // namespace
}  // namespace evictlab::runtime
