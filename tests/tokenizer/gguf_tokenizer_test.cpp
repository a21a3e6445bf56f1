// Tokenizers of GGUF files against the tokenizers and sentencepiece packages: those of
// scripts/make_fixture_gguf_tokenizers.py (EVICTLAB_GGUF_TOKENIZER_CASES names another folder of such files), and the
// fixtures of equality_test.cpp and sentencepiece_test.cpp, written as GGUF.

#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../runtime/gguf_files.hpp"
#include "runtime/tokenizer/byte_level.hpp"
#include "runtime/tokenizer/tokenizer.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::int32_t kNormal = 1;
constexpr std::int32_t kUnknown = 2;
constexpr std::int32_t kControl = 3;
constexpr std::int32_t kUserDefined = 4;
constexpr std::int32_t kByte = 6;

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<json> text_lines(const fs::path& path) {
  std::ifstream file(path);
  std::vector<json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
  return lines;
}

class GgufTokenizer : public ::testing::Test {
 protected:
  Tokenizer make(const GgufBuilder& builder) {
    const fs::path path = directory_ / "model.gguf";
    const std::string bytes = builder.bytes();
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return Tokenizer::from_gguf(core::GgufFile(path));
  }
  std::string refusal(const GgufBuilder& builder) {
    try {
      make(builder);
    } catch (const core::InputError& error) {
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
      return error.what();
    }
    return "nothing was refused";
  }

  testing::TemporaryDirectory directory_;
};

/// A tokenizer.json of tests/data/tokenizers as llama.cpp's converter writes it.
GgufBuilder as_gguf(const fs::path& file, const std::string& pre) {
  const json document = json::parse(read(file));
  const json& model = document["model"];
  std::vector<std::string> tokens(model["vocab"].size() + document["added_tokens"].size());
  std::vector<std::int32_t> types(tokens.size(), kNormal);
  for (const auto& [token, id] : model["vocab"].items()) tokens.at(id) = token;
  for (const json& added : document["added_tokens"]) {
    tokens.at(added["id"]) = added["content"];
    types.at(added["id"]) = added["special"] ? kControl : kUserDefined;
  }
  std::vector<std::string> merges;
  for (const json& merge : model["merges"]) {
    merges.push_back(merge.is_string() ? merge.get<std::string>()
                                       : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  GgufBuilder builder;
  builder.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", pre);
  return builder.texts("tokenizer.ggml.tokens", tokens)
      .integers("tokenizer.ggml.token_type", types)
      .texts("tokenizer.ggml.merges", merges);
}

TEST_F(GgufTokenizer, ByteLevelOnesGiveTheIdsOfTheTokenizersPackage) {
  const fs::path fixtures = fs::path(EVICTLAB_TEST_DATA) / "tokenizers";
  const std::vector<json> corpus = text_lines(fixtures / "corpus.jsonl");
  const auto check = [&](const std::string& name, const std::string& pre, const auto& change) {
    GgufBuilder builder = as_gguf(fixtures / (name + ".json"), pre);
    change(builder);
    const Tokenizer tokenizer = make(builder);
    std::size_t lines = 0;
    for (const json& expected : text_lines(fixtures / (name + ".expected"))) {
      const auto text = corpus.at(expected["line"].get<std::size_t>()).get<std::string>();
      SCOPED_TRACE(name + " on " + json(text).dump());
      const Encoding encoding = tokenizer.encode(text, true);
      ASSERT_EQ(encoding.ids, expected["ids"].get<std::vector<std::int32_t>>());
      ASSERT_EQ(tokenizer.decode(encoding.ids, true), expected.value("decoded", text));
      ++lines;
    }
    EXPECT_GT(lines, 500U);
  };
  check("gpt2_style", "gpt-2", [](GgufBuilder&) {});
  check("llama3_style", "llama-bpe", [](GgufBuilder& b) { b.u32("tokenizer.ggml.bos_token_id", 1100); });
  check("qwen2_style", "qwen2", [](GgufBuilder& b) { b.flag("tokenizer.ggml.add_bos_token", false); });
}

TEST_F(GgufTokenizer, EveryKindGivesTheIdsOfItsPackage) {
  const char* other = std::getenv("EVICTLAB_GGUF_TOKENIZER_CASES");
  const fs::path cases = other != nullptr ? fs::path(other) : fs::path(EVICTLAB_TEST_DATA) / "gguf" / "tokenizers";
  std::size_t kinds = 0;
  for (const auto& entry : fs::directory_iterator(cases)) {
    if (entry.path().extension() != ".gguf") continue;
    ++kinds;
    const Tokenizer tokenizer = Tokenizer::from_gguf(core::GgufFile(entry.path()));
    const std::vector<json> lines = text_lines(fs::path(entry.path()).replace_extension(".expected"));
    EXPECT_GE(lines.size(), 10U);
    for (const json& expected : lines) {
      const auto text = expected["text"].get<std::string>();
      SCOPED_TRACE(entry.path().filename().string() + " on " + expected["text"].dump());
      // SentencePiece leaves control tokens that are written out as text.
      if (entry.path().stem() == "llama" && text.find("<s>") != std::string::npos) continue;
      const Encoding encoding = tokenizer.encode(text, true);
      ASSERT_EQ(encoding.ids, expected["ids"].get<std::vector<std::int32_t>>());
      ASSERT_EQ(tokenizer.decode(encoding.ids, true), expected["decoded"].get<std::string>());
    }
  }
  EXPECT_GE(kinds, 9U);
}

/// The varint at `at`, which moves behind it.
std::uint64_t varint(std::string_view bytes, std::size_t& at) {
  std::uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes[at++]);
    value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
    if (byte < 0x80) return value;
  }
}

/// The pieces of a SentencePiece model (its field 1: text 1, score 2, type 3), as GGUF.
GgufBuilder sentencepiece_as_gguf(const fs::path& file) {
  const std::string model = read(file);
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  for (std::size_t at = 0; at < model.size();) {
    const std::uint64_t tag = varint(model, at);
    const std::uint64_t size = varint(model, at);
    const std::string_view message = std::string_view(model).substr(at, size);
    at += size;
    if (tag != (1U << 3U | 2U)) continue;
    tokens.emplace_back();
    scores.push_back(0.0F);
    types.push_back(kNormal);
    for (std::size_t inner = 0; inner < message.size();) {
      const std::uint64_t field = varint(message, inner);
      if (field >> 3U == 1) {
        const std::uint64_t length = varint(message, inner);
        tokens.back() = message.substr(inner, length);
        inner += length;
      } else if (field >> 3U == 2) {
        std::memcpy(&scores.back(), message.data() + inner, sizeof(float));
        inner += sizeof(float);
      } else {
        types.back() = static_cast<std::int32_t>(varint(message, inner));
      }
    }
  }
  GgufBuilder builder;
  builder.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", tokens);
  return builder.floats("tokenizer.ggml.scores", scores).integers("tokenizer.ggml.token_type", types);
}

TEST_F(GgufTokenizer, SentencePieceOnesGiveTheIdsOfTheSentencepiecePackage) {
  const char* other = std::getenv("EVICTLAB_SENTENCEPIECE_CASES");
  const fs::path fixtures = other != nullptr ? fs::path(other) : fs::path(EVICTLAB_TEST_DATA) / "sentencepiece";
  const Tokenizer tokenizer = make(sentencepiece_as_gguf(fixtures / "bpe.model"));
  std::size_t lines = 0;
  for (const json& expected : text_lines(fixtures / "bpe.expected")) {
    const auto text = expected["text"].get<std::string>();
    // Special tokens that are written out become themselves here, and stay text there.
    if (text.find("<s>") != std::string::npos) continue;
    SCOPED_TRACE(expected["text"].dump());
    const Encoding encoding = tokenizer.encode(text, false);
    EXPECT_EQ(encoding.ids, expected["ids"].get<std::vector<std::int32_t>>());
    EXPECT_EQ(tokenizer.decode(encoding.ids, true), expected["decoded"].get<std::string>());
    ++lines;
  }
  EXPECT_GT(lines, 40U);
}

/// A SentencePiece vocabulary by hand: a, b, c, ab, abc, bc and the space.
GgufBuilder small_sentencepiece() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>", "▁", "a", "b", "c", "ab", "bc", "abc", "<user>", "▁a"};
  std::vector<float> scores = {0, 0, 0, -10, -11, -12, -13, -2, -1, -3, 0, -4};
  std::vector<std::int32_t> types = {kUnknown, kControl, kControl, kNormal, kNormal,      kNormal,
                                     kNormal,  kNormal,  kNormal,  kNormal, kUserDefined, kNormal};
  for (int byte = 0; byte < 256; ++byte) {
    tokens.push_back(fmt::format("<0x{:02X}>", byte));
    scores.push_back(0);
    types.push_back(kByte);
  }
  GgufBuilder builder;
  builder.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", tokens);
  return builder.floats("tokenizer.ggml.scores", scores).integers("tokenizer.ggml.token_type", types);
}

TEST_F(GgufTokenizer, ThePairWithTheHighestScoreIsJoinedFirst) {
  const Tokenizer tokenizer = make(small_sentencepiece());
  // "bc" (-1) before "ab" (-2); then "a" and "bc" are "abc".
  EXPECT_THAT(tokenizer.encode("abc", false).ids, ElementsAre(3, 9));
  EXPECT_THAT(tokenizer.encode("ab a", false).ids, ElementsAre(3, 7, 11));
  EXPECT_THAT(tokenizer.encode("", false).ids, IsEmpty());
  // A character that is no token: its bytes.
  EXPECT_THAT(tokenizer.encode("é", false).ids, ElementsAre(3, 12 + 0xC3, 12 + 0xA9));
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{3, 12 + 0xC3, 12 + 0xA9, 11}, true), "é a");
}

TEST_F(GgufTokenizer, SpecialTokensAreFoundInTextsAndTheTextBehindThemBeginsAnew) {
  const Tokenizer tokenizer = make(small_sentencepiece());
  EXPECT_THAT(tokenizer.encode("a<s>a<user>b", false).ids, ElementsAre(11, 1, 11, 10, 3, 5));
  EXPECT_THAT(tokenizer.special_token_ids(), ElementsAre(0, 1, 2));
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{1, 11, 10}, true), "a<user>");
}

TEST_F(GgufTokenizer, WhatBeginsAndEndsATextIsSaidByTheFile) {
  EXPECT_THAT(make(small_sentencepiece()).encode("a", true).ids, ElementsAre(1, 11));
  EXPECT_THAT(make(small_sentencepiece().flag("tokenizer.ggml.add_bos_token", false)).encode("a", true).ids,
              ElementsAre(11));
  EXPECT_THAT(make(small_sentencepiece()
                       .flag("tokenizer.ggml.add_eos_token", true)
                       .u32("tokenizer.ggml.eos_token_id", 10)
                       .flag("tokenizer.ggml.add_space_prefix", false))
                  .encode("a", true)
                  .ids,
              ElementsAre(1, 4, 10));
}

GgufBuilder small_byte_level(const std::string& pre = "gpt-2") {
  GgufBuilder builder;
  builder.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", pre);
  return builder.texts("tokenizer.ggml.tokens", {"1", "2", "12", "a", "Ġ", "Ġa", "3", "123"})
      .texts("tokenizer.ggml.merges", {"1 2", "Ġ a", "12 3"});
}

TEST_F(GgufTokenizer, ThePreTokenizerSaysHowDigitsAreCut) {
  const auto ids = [&](const std::string& pre) { return make(small_byte_level(pre)).encode("123 a", false).ids; };
  EXPECT_THAT(ids("gpt-2"), ElementsAre(7, 5));
  EXPECT_THAT(ids("smollm"), ElementsAre(0, 1, 6, 5));
  EXPECT_THAT(ids("default"), ElementsAre(7, 5));
  EXPECT_THAT(ids("deepseek-v3"), ElementsAre(7, 5));
  EXPECT_THAT(ids("deepseek-coder"), ElementsAre(0, 1, 6, 5));
  EXPECT_THAT(ids("deepseek-llm"), ElementsAre(7, 5));
  EXPECT_THAT(ids("gpt-4o"), ElementsAre(7, 5));
  EXPECT_THAT(make(small_byte_level("tekken").flag("tokenizer.ggml.add_bos_token", false)).encode("123 a", true).ids,
              ElementsAre(0, 1, 6, 5));
}

TEST_F(GgufTokenizer, EveryNamedPreTokenizerCutsATextWithoutLosingAnyOfIt) {
  const std::string unknown = refusal(small_byte_level("made-up"));
  const std::string list = unknown.substr(unknown.find("known: ") + 7);
  EXPECT_THAT(list, AllOf(HasSubstr("llama-bpe"), HasSubstr("qwen2"), HasSubstr("smollm"), HasSubstr("tekken")));
  std::vector<std::string> alphabet;
  for (int byte = 0; byte < 256; ++byte) alphabet.emplace_back(byte_to_symbol(static_cast<std::uint8_t>(byte)));
  const std::string text = "Hello WORLD's 12345 tests...\n\n  \tdéjà vu 東京 한국 'LL x=1;\r\n   end  ";
  std::size_t names = 0;
  for (std::size_t at = 0; at < list.size(); ++names) {
    const std::size_t end = std::min(list.find(", ", at), list.size());
    const std::string name = list.substr(at, end - at);
    SCOPED_TRACE(name);
    GgufBuilder builder;
    builder.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", name);
    builder.texts("tokenizer.ggml.tokens", alphabet).texts("tokenizer.ggml.merges", {});
    builder.flag("tokenizer.ggml.add_bos_token", false);
    const Tokenizer tokenizer = make(builder);
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false).ids, false), text);
    at = end + 2;
  }
  EXPECT_GT(names, 40U);
}

TEST_F(GgufTokenizer, WhatIsNotSupportedIsNamed) {
  EXPECT_THAT(refusal(GgufBuilder().text("tokenizer.ggml.model", "t5")),
              HasSubstr("tokenizer.ggml.model: 't5' is not supported; known: gpt2, llama"));
  EXPECT_THAT(refusal(small_byte_level("made-up")),
              HasSubstr("tokenizer.ggml.pre: 'made-up' is not supported; known:"));
  EXPECT_THAT(refusal(GgufBuilder()), HasSubstr("the metadata has no 'tokenizer.ggml.model'"));
  EXPECT_THAT(refusal(small_sentencepiece().flag("tokenizer.ggml.remove_extra_whitespaces", true)),
              HasSubstr("remove_extra_whitespaces: is true, which is not supported"));
  EXPECT_THAT(refusal(small_byte_level().flag("tokenizer.ggml.add_space_prefix", true)),
              HasSubstr("add_space_prefix: is not supported for the tokenizer 'gpt2'"));
}

TEST_F(GgufTokenizer, ListsThatDoNotFitEachOtherAreRefused) {
  const auto with = [](const std::vector<std::string>& tokens, const std::vector<std::string>& merges) {
    GgufBuilder builder;
    builder.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", tokens);
    return builder.texts("tokenizer.ggml.merges", merges);
  };
  EXPECT_THAT(refusal(with({"a", "b"}, {"a b"})),
              HasSubstr("tokenizer.ggml.merges: merge 0 needs the token 'ab', which is not in the vocabulary"));
  EXPECT_THAT(refusal(with({"a", "b"}, {"a"})), HasSubstr("merge 0 is 'a'; expected two tokens"));
  EXPECT_THAT(refusal(with({"a", "\xff"}, {})), HasSubstr("tokenizer.ggml.tokens: token 1 is not UTF-8"));
  EXPECT_THAT(refusal(with({"a"}, {}).integers("tokenizer.ggml.token_type", {1, 1})),
              HasSubstr("2 types for 1 tokens"));
  EXPECT_THAT(refusal(with({"a"}, {}).flag("tokenizer.ggml.add_bos_token", true)),
              HasSubstr("texts are to have a bos token, but the metadata has no 'tokenizer.ggml.bos_token_id'"));
  EXPECT_THAT(refusal(with({"a"}, {}).flag("tokenizer.ggml.add_bos_token", true).u32("tokenizer.ggml.bos_token_id", 1)),
              HasSubstr("tokenizer.ggml.bos_token_id: expected a whole number from 0 to 0, got 1"));
  GgufBuilder scores;
  scores.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", {"a", "b"});
  EXPECT_THAT(refusal(scores.floats("tokenizer.ggml.scores", {1.0F})), HasSubstr("1 scores for 2 tokens"));
}

TEST_F(GgufTokenizer, OfATextThatOccursTwiceTheLastTokenCounts) {
  GgufBuilder builder;
  builder.text("tokenizer.ggml.model", "gpt2").texts("tokenizer.ggml.tokens", {"a", "b", "a"});
  const Tokenizer tokenizer = make(builder.texts("tokenizer.ggml.merges", {}));
  EXPECT_THAT(tokenizer.encode("ab", false).ids, ElementsAre(2, 1));
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{0, 1}, false), "ab");
}

}  // namespace
}  // namespace evictlab::runtime
