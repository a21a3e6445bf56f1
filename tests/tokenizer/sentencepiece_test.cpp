// The same ids and texts as the sentencepiece package: the files in tests/data/sentencepiece, which
// scripts/make_fixture_sentencepiece.py made and describes. EVICTLAB_SENTENCEPIECE_CASES names another folder of such
// files.

#include "runtime/tokenizer/sentencepiece_tokenizer.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "runtime/tokenizer/utf8.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const fs::path kFixtures = fs::path(EVICTLAB_TEST_DATA) / "sentencepiece";

void write(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string read_model(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string refusal(const fs::path& file) {
  try {
    const SentencePieceTokenizer tokenizer(file);
  } catch (const core::InputError& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "nothing was refused";
}

TEST(SentencePiece, GivesTheIdsAndTextsOfThePackage) {
  const char* other = std::getenv("EVICTLAB_SENTENCEPIECE_CASES");
  std::size_t models = 0;
  for (const auto& entry : fs::directory_iterator(other != nullptr ? fs::path(other) : kFixtures)) {
    if (entry.path().extension() != ".model") continue;
    ++models;
    const SentencePieceTokenizer tokenizer(entry.path());
    std::ifstream cases(fs::path(entry.path()).replace_extension(".expected"));
    std::size_t lines = 0;
    for (std::string line; std::getline(cases, line); ++lines) {
      const json expected = json::parse(line);
      const auto text = expected["text"].get<std::string>();
      SCOPED_TRACE(entry.path().filename().string() + " on " + expected["text"].dump());
      const Encoding encoding = tokenizer.encode(text, false);
      EXPECT_EQ(encoding.ids, expected["ids"].get<std::vector<std::int32_t>>());
      EXPECT_EQ(tokenizer.decode(encoding.ids, true), expected["decoded"].get<std::string>());
      ASSERT_EQ(encoding.ranges.size(), encoding.ids.size());
      const std::vector<std::size_t> characters = code_point_offsets(text);
      for (const ByteRange range : encoding.ranges) {
        EXPECT_TRUE(std::ranges::binary_search(characters, range.begin));
        EXPECT_TRUE(std::ranges::binary_search(characters, range.end));
      }
    }
    EXPECT_GT(lines, 40U);
  }
  EXPECT_GE(models, 3U);
}

TEST(SentencePiece, BytesOfACharacterAllHaveItsRange) {
  const SentencePieceTokenizer tokenizer(kFixtures / "bpe.model");
  const std::string text = "key \xF0\x9F\x98\x80 value";  // U+1F600 in bytes 4..8
  const Encoding encoding = tokenizer.encode(text, false);
  EXPECT_EQ(std::ranges::count(encoding.ranges, ByteRange{4, 8}), 4);
  const TokenRange tokens = tokens_of(encoding, {4, 8});
  EXPECT_EQ(tokens.end - tokens.begin, 4U);
}

class SentencePieceConfig : public ::testing::Test {
 protected:
  Encoding encode(const json& config) {
    fs::copy_file(kFixtures / "bpe.model", directory_ / "tokenizer.model", fs::copy_options::overwrite_existing);
    write(directory_ / "tokenizer_config.json", config.dump());
    return load_tokenizer(directory_.path())->encode("", true);
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(SentencePieceConfig, SaysWhatBeginsAndEndsAText) {
  EXPECT_THAT(encode(json::object()).ids, ElementsAre(1)) << "as Llama's tokenizer by default";
  EXPECT_THAT(encode({{"add_bos_token", false}}).ids, ElementsAre());
  EXPECT_THAT(encode({{"add_eos_token", true}}).ids, ElementsAre(1, 2));
  EXPECT_THAT(encode({{"add_eos_token", true}, {"eos_token", {{"content", "<s>"}}}}).ids, ElementsAre(1, 1));
  EXPECT_THAT(encode({{"bos_token", "</s>"}}).ids, ElementsAre(2));
}

TEST_F(SentencePieceConfig, ATokenTheModelDoesNotHaveIsRefused) {
  encode(json::object());
  write(directory_ / "tokenizer_config.json", R"({"bos_token": "<bos>"})");
  EXPECT_THAT(refusal(directory_ / "tokenizer.model"),
              HasSubstr("tokenizer_config.json: bos_token: is '<bos>', which tokenizer.model does not have"));
  write(directory_ / "tokenizer_config.json", "{");
  EXPECT_THAT(refusal(directory_ / "tokenizer.model"), HasSubstr("tokenizer_config.json: not valid JSON"));
}

TEST_F(SentencePieceConfig, ControlTokensAreWrittenOutOnlyWhenAskedFor) {
  const SentencePieceTokenizer tokenizer(kFixtures / "bpe.model");
  const Encoding encoding = tokenizer.encode("the cache", true);
  EXPECT_EQ(tokenizer.decode(encoding.ids, true), "the cache");
  EXPECT_EQ(tokenizer.decode(encoding.ids, false), "<s>the cache");
}

TEST_F(SentencePieceConfig, WhatIsNoModelIsRefused) {
  const fs::path file = directory_ / "tokenizer.model";
  const std::string sound = read_model(kFixtures / "bpe.model");
  using namespace std::string_literals;
  // A piece that is a NUL alone is an empty one to the library's trie.
  const std::string nul = read_model(kFixtures / "unigram.model") + "\x0a\x08\x0a\x01\x00\x15\x00\x00\x00\x00"s;
  for (const std::string& bytes : {""s, "{}"s, std::string(300, '\xff'), sound.substr(0, 3), nul}) {
    write(file, bytes);
    EXPECT_EQ(refusal(file), file.string() + ": not a SentencePiece model");
  }
  // Cut or damaged anywhere it is refused or read, but nothing worse happens.
  for (std::size_t at = 1; at < sound.size(); at += 97) {
    write(file, sound.substr(0, at));
    refusal(file);
    std::string damaged = sound;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    write(file, damaged);
    refusal(file);
  }
  EXPECT_THAT(refusal(directory_ / "none.model"), HasSubstr("none.model"));
  fs::remove(file);
  EXPECT_THROW(load_tokenizer(directory_.path()), TokenizerError);
}

}  // namespace
}  // namespace evictlab::runtime
