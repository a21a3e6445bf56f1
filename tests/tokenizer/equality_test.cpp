// The same ids, texts and ranges as the tokenizers package: the files in tests/data/tokenizers, which
// scripts/make_fixture_tokenizers.py made and describes. EVICTLAB_TOKENIZER_CASES names another folder of
// such files.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/tokenizer/tokenizer.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

fs::path cases_directory() {
  const char* other = std::getenv("EVICTLAB_TOKENIZER_CASES");
  return other != nullptr ? fs::path(other) : fs::path(EVICTLAB_TEST_DATA) / "tokenizers";
}

std::vector<json> read_lines(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::vector<json> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
  return lines;
}

std::vector<std::size_t> flat(const std::vector<ByteRange>& ranges) {
  std::vector<std::size_t> numbers;
  for (const ByteRange& range : ranges) {
    // Where the package puts tokens of the template: at 0, and so empty.
    const bool empty = range.begin == range.end;
    numbers.push_back(empty ? 0 : range.begin);
    numbers.push_back(empty ? 0 : range.end);
  }
  return numbers;
}

struct Checked {
  std::size_t lines = 0;
  std::size_t ranges = 0;
};

Checked check_tokenizer(const fs::path& file, const std::vector<json>& corpus) {
  const Tokenizer tokenizer = Tokenizer::load(file);
  Checked checked;
  for (const json& expected : read_lines(fs::path(file).replace_extension(".expected"))) {
    const auto text = corpus.at(expected["line"].get<std::size_t>()).get<std::string>();
    const Encoding encoding = tokenizer.encode(text, true);
    SCOPED_TRACE(file.filename().string() + " on " + json(text).dump());
    EXPECT_EQ(encoding.ids, expected["ids"].get<std::vector<std::int32_t>>());
    EXPECT_EQ(encoding.ranges.size(), encoding.ids.size());
    EXPECT_EQ(tokenizer.decode(encoding.ids, true), expected.value("decoded", text));
    if (expected.contains("full")) {
      EXPECT_EQ(tokenizer.decode(encoding.ids, false), expected["full"]);
    }
    if (expected.contains("ranges")) {
      EXPECT_EQ(flat(encoding.ranges), expected["ranges"].get<std::vector<std::size_t>>());
      ++checked.ranges;
    }
    ++checked.lines;
    if (::testing::Test::HasFailure()) return checked;  // one line shows what is wrong, thousands hide it
  }
  return checked;
}

TEST(TokenizerEquality, EveryLineOfEveryVocabularyIsAsInThePackage) {
  const std::vector<json> corpus = read_lines(cases_directory() / "corpus.jsonl");
  ASSERT_GE(corpus.size(), 100U);
  std::size_t tokenizers = 0;
  Checked all;
  for (const auto& entry : fs::directory_iterator(cases_directory())) {
    if (entry.path().extension() != ".json") continue;
    const Checked checked = check_tokenizer(entry.path(), corpus);
    if (HasFailure()) return;
    EXPECT_GE(checked.lines, corpus.size() / 4) << entry.path();
    all.lines += checked.lines;
    all.ranges += checked.ranges;
    ++tokenizers;
  }
  EXPECT_GE(tokenizers, 6U);
  EXPECT_GE(all.ranges, all.lines / 10);
}

TEST(TokenizerEquality, TheDemoModelsPromptsHaveTheIdsAndLengthsTheyWereMadeWith) {
  const fs::path model = fs::path(EVICTLAB_SOURCE_DIR) / "models" / "demo";
  const Tokenizer tokenizer = Tokenizer::load(model / "tokenizer.json");
  std::size_t prompts = 0;
  for (const auto& entry : fs::directory_iterator(model / "prompts")) {
    if (entry.path().extension() != ".jsonl") continue;
    for (const json& prompt : read_lines(entry.path())) {
      const Encoding encoding = tokenizer.encode(prompt["prompt"].get<std::string>(), true);
      EXPECT_EQ(encoding.ids.size(), prompt["length_tokens"]) << prompt["id"];
      EXPECT_EQ(tokenizer.decode(encoding.ids, false), prompt["prompt"]) << prompt["id"];
      ++prompts;
    }
  }
  EXPECT_EQ(prompts, 18U * 16U);

  const auto expected = read_lines(fs::path(EVICTLAB_TEST_DATA) / "models" / "demo.jsonl");
  EXPECT_EQ(expected.size(), 18U);
  for (const json& prompt : expected) {
    const auto tokens = prompt["tokens"].get<std::vector<std::int32_t>>();
    EXPECT_EQ(tokenizer.encode(tokenizer.decode(tokens, false), true).ids, tokens) << prompt["id"];
  }
}

}  // namespace
}  // namespace evictlab::runtime
