// Patterns mean what they mean in the tokenizers library, and hostile ones end in one line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "runtime/tokenizer/regex.hpp"
#include "small_tokenizer.hpp"

namespace evictlab::runtime {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Texts = std::vector<std::string>;

Texts matches(const std::string& pattern, const std::string& text) {
  RegexSearch search(Regex::compile(pattern));
  Texts found;
  for (const PatternSpan& span : search.spans(text)) {
    if (span.matched) found.push_back(text.substr(span.begin, span.end - span.begin));
  }
  return found;
}

TEST(Pattern, WhiteSpaceIsUnicodesProperty) {
  EXPECT_THAT(matches(R"(\s)", "a\u0085b\u00a0c\u3000d\u200be"), ElementsAre("\u0085", "\u00a0", "\u3000"));
  EXPECT_THAT(matches(R"(\s)", "\u180e"), ElementsAre());
  EXPECT_THAT(matches(R"([^\S\n]+)", " \n\t\u0085x"), ElementsAre(" ", "\t\u0085"));
}

TEST(Pattern, WordCharactersIncludeMarks) {
  EXPECT_THAT(matches(R"(\w+)", "e\u0301a_1-\u0661"), ElementsAre("e\u0301a_1", "\u0661"));
  EXPECT_THAT(matches(R"(\W)", "e\u0301-"), ElementsAre("-"));
  EXPECT_THAT(matches(R"(a\b)", "a\u0301 a"), ElementsAre("a"));
}

TEST(Pattern, APlusAfterAnIntervalRepeatsIt) {
  // Ruby: ((1 to 3 digits) once or more).
  EXPECT_THAT(matches(R"(\d{1,3}+)", "1234"), ElementsAre("1234"));
  EXPECT_THAT(matches(R"(\d{1,3})", "1234"), ElementsAre("123", "4"));
  EXPECT_THAT(matches(R"(\d++3)", "1233"), ElementsAre());
  EXPECT_THAT(matches("xa{,2}", "xaaa"), ElementsAre("xaa"));
  EXPECT_THAT(matches("a{2}?b", "ab aab"), ElementsAre("b", "aab"));
  EXPECT_THAT(matches("a{x}", "a{x}"), ElementsAre("a{x}"));
}

TEST(Pattern, CaseIsIgnoredWhereTheGroupSays) {
  // U+017F, the long s, is an s when case is ignored.
  EXPECT_THAT(matches("(?i:'s|'t|'re)t", "'St 'tt 'RET '\u017ft"), ElementsAre("'St", "'tt", "'\u017ft"));
}

TEST(Pattern, ScriptsAreExactAndLinesHaveBothAnchors) {
  EXPECT_THAT(matches(R"(\p{Han}+)", "\u6f22\u3001a"), ElementsAre("\u6f22"));  // U+3001 only shares the script
  EXPECT_THAT(matches(R"(\p{^L})", "a1"), ElementsAre("1"));
  EXPECT_THAT(matches("^.", "ab\ncd\n"), ElementsAre("a", "c"));
  EXPECT_THAT(matches("b$", "ab\nb"), ElementsAre("b", "b"));
  EXPECT_THAT(matches("(?m:a.)", "a\n"), ElementsAre("a\n"));
}

TEST(Pattern, AnEmptyMatchDirectlyAfterAMatchDoesNotCount) {
  EXPECT_THAT(matches("x*", "xxab"), ElementsAre("xx", "", ""));
}

TEST(Pattern, ClassesCombineAndGroupsAreReferredTo) {
  EXPECT_THAT(matches("[a-c&&[^b]]", "abc"), ElementsAre("a", "c"));
  EXPECT_THAT(matches("[x[yz]]+", "axyzb"), ElementsAre("xyz"));
  EXPECT_THAT(matches(R"((a|b)\1)", "abbaa"), ElementsAre("bb", "aa"));
  EXPECT_THAT(matches(R"((?<n>a)\k<n>)", "aab"), ElementsAre("aa"));
  EXPECT_THAT(matches(R"(\h+)", "x0aFg"), ElementsAre("0aF"));
  EXPECT_THAT(matches(R"(\R)", "a\r\nb\n"), ElementsAre("\r\n", "\n"));
  EXPECT_THAT(matches("a(?i)b", "aB Ab"), ElementsAre("aB"));
}

TEST(Pattern, LettersThatFoldToSeveralMatchWithoutCase) {
  EXPECT_THAT(matches("(?i:ss)", "Ss \u00df"), ElementsAre("Ss", "\u00df"));
  EXPECT_THAT(matches("(?i:\u00e9)", "\u00c9"), ElementsAre("\u00c9"));
}

TEST(Pattern, BrokenPatternsAreRefusedInOneLine) {
  for (const char* pattern : {"[]", "a)", "*", "(a", "a\\", "(?<n", R"(\g<0>)", "a{2,1000000}"}) {
    EXPECT_THAT(error_of([&] { Regex::compile(pattern); }), AllOf(HasSubstr("pattern '"), Not(HasSubstr("\n"))))
        << pattern;
  }
  EXPECT_THAT(error_of([] { Regex::compile(R"(\p{Nonsense})"); }),
              HasSubstr("pattern '\\p{Nonsense}': invalid character property name {Nonsense}"));
}

TEST(Pattern, HostilePatternsEndInOneLine) {
  RegexSearch explosive(Regex::compile("(?:a|a|a)*b"));
  EXPECT_THAT(error_of([&] { explosive.spans(std::string(60, 'a') + "xb"); }),
              HasSubstr("gives up on a text of 62 bytes: retry-limit-in-"));
  RegexSearch deep(Regex::compile("(?:(a)|b(?=.))*c"));
  EXPECT_THAT(error_of([&] { deep.spans(std::string(20'000'000, 'a') + "xc"); }),
              HasSubstr("gives up on a text of 20000002 bytes: match-stack limit over"));
}

TEST(Pattern, ALongMatchIsNoHostileOne) {
  EXPECT_THAT(matches("(?:a|b(?=.))*c", std::string(200'000, 'a') + "c").size(), 1);
}

struct Behavior {
  std::string name;
  bool invert;
  Texts expected;
};

TEST(Pattern, SplitBehavesInItsFiveWays) {
  // Words of "aXXbXc" with X as the pattern, one match per X.
  const std::vector<Behavior> behaviors = {{"Removed", false, {"a", "b", "c"}},
                                           {"Removed", true, {"X", "X", "X"}},
                                           {"Isolated", false, {"a", "X", "X", "b", "X", "c"}},
                                           {"MergedWithPrevious", false, {"aX", "X", "bX", "c"}},
                                           {"MergedWithNext", false, {"a", "X", "Xb", "Xc"}},
                                           {"Contiguous", false, {"a", "XX", "b", "X", "c"}}};
  for (const Behavior& behavior : behaviors) {
    nlohmann::json document = small_document();
    document["pre_tokenizer"] = {
        {"type", "Split"}, {"pattern", {{"String", "X"}}}, {"behavior", behavior.name}, {"invert", behavior.invert}};
    document["decoder"] = nullptr;
    document["model"]["fuse_unk"] = true;
    // Each word becomes one token: with ignore_merges a word of the vocabulary is taken whole.
    document["model"]["ignore_merges"] = true;
    for (const char* word : {"X", "XX", "aX", "bX", "Xb", "Xc"}) {
      document["model"]["vocab"][word] = document["model"]["vocab"].size();
    }
    const Tokenizer tokenizer = parse(document);
    Texts words;
    for (const std::int32_t id : tokenizer.encode("aXXbXc", false).ids) words.push_back(*tokenizer.id_to_token(id));
    EXPECT_EQ(words, behavior.expected) << behavior.name << (behavior.invert ? " inverted" : "");
  }
}

}  // namespace
}  // namespace evictlab::runtime
