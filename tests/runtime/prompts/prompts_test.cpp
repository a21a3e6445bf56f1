#include "runtime/prompts/prompts.hpp"

#include <fstream>
#include <numeric>

#include "runtime/tokenizer/tokenizer.hpp"
#include "testing/temporary_directory.hpp"

namespace evictlab::runtime {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Tokenizer& demo_tokenizer() {
  static const Tokenizer tokenizer =
      Tokenizer::load(std::filesystem::path(EVICTLAB_SOURCE_DIR) / "models/demo/tokenizer.json");
  return tokenizer;
}

Prompt ids(std::int32_t count) {
  Prompt prompt;
  prompt.id = "p";
  prompt.tokens.emplace(static_cast<std::size_t>(count));
  std::iota(prompt.tokens->begin(), prompt.tokens->end(), 0);
  return prompt;
}

std::string message_of(const auto& call) {
  try {
    call();
  } catch (const core::InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Prompts, LinesAreReadWithDefaultsForWhatIsMissing) {
  const testing::TemporaryDirectory directory;
  std::ofstream(directory / "kv.jsonl") << R"({"prompt": "abc"})"
                                           "\n\n"
                                        << R"({"id": 7, "task": "t", "tokens": [1, 2], "answer_tokens": [3],)"
                                        << R"( "spans": [{"name": "needle", "start": 0, "end": 1}], "depth": 0.5})"
                                           "\n";
  const std::vector<Prompt> prompts = read_prompts(directory / "kv.jsonl");
  ASSERT_EQ(prompts.size(), 2U);
  EXPECT_EQ(prompts[0].id, "kv-1");
  EXPECT_EQ(prompts[0].task, "kv");
  EXPECT_EQ(prompts[0].source, "kv.jsonl:1");
  EXPECT_EQ(prompts[0].text, "abc");
  EXPECT_EQ(prompts[1].id, "7");
  EXPECT_EQ(prompts[1].source, "kv.jsonl:3");
  EXPECT_THAT(*prompts[1].tokens, ElementsAre(1, 2));
  EXPECT_EQ(prompts[1].spans.size(), 1U);
}

// limit 10 of 0..19: the first 5 and the last 5 remain, as LongBench's scripts cut.
TEST(Prompts, TheMiddleIsCutOutOfTheContextAndSpansFollow) {
  Prompt prompt = ids(20);
  prompt.spans = {{"left", 1, 3}, {"context", 3, 18}, {"right", 15, 17}};
  const TokenizedPrompt cut = tokenize(prompt, nullptr, {.max_positions = 10});
  EXPECT_THAT(cut.tokens, ElementsAre(0, 1, 2, 3, 4, 15, 16, 17, 18, 19));
  EXPECT_THAT(cut.spans,
              ElementsAre(trace::Span{"left", 1, 3}, trace::Span{"context", 3, 8}, trace::Span{"right", 5, 7}));
}

// The same cut removes 5..14. A benchmark's own may take a part of a span, but no whole one.
TEST(Prompts, NoOtherSpanIsCut) {
  const auto cut = [](const Prompt::Span& span, bool by_benchmark) {
    Prompt prompt = ids(20);
    prompt.spans = {span};
    prompt.cut_to_fit = by_benchmark;
    return tokenize(prompt, nullptr, {.max_positions = 10}).spans;
  };
  for (const Prompt::Span& span : {Prompt::Span{"needle", 3, 6}, {"needle", 14, 16}, {"needle", 6, 9}}) {
    EXPECT_THAT(message_of([&] { cut(span, false); }), HasSubstr("cuts its span 'needle'"));
  }
  EXPECT_THAT(message_of([&] { cut({"context", 6, 9}, false); }), HasSubstr("cuts its span 'context'"));
  EXPECT_THAT(cut({"question", 3, 6}, true), ElementsAre(trace::Span{"question", 3, 5}));
  EXPECT_THROW(cut({"question", 6, 9}, true), PromptError);
}

TEST(Prompts, EvictionAtTheContextMakesTheRestFuture) {
  Prompt prompt = ids(10);
  prompt.spans = {{"context", 0, 6}, {"question", 6, 10}};
  prompt.answer_tokens = {{90, 91}};
  const TokenizedPrompt split = tokenize(prompt, nullptr, {.evict_at = EvictAt::kContext});
  EXPECT_THAT(split.tokens, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(split.future, ElementsAre(6, 7, 8, 9, 90, 91));
  EXPECT_EQ(split.generate, 0);

  const TokenizedPrompt generated =
      tokenize(prompt, nullptr, {.evict_at = EvictAt::kContext, .future = {FutureRule::Kind::kGenerate, 5}});
  EXPECT_THAT(generated.future, ElementsAre(6, 7, 8, 9));
  EXPECT_EQ(generated.generate, 5);
}

TEST(Prompts, WithoutAnAnswerTheFutureIsGenerated) {
  const TokenizedPrompt prompt = tokenize(ids(10), nullptr, {});
  EXPECT_TRUE(prompt.future.empty());
  EXPECT_EQ(prompt.generate, 32);
}

TEST(Prompts, CharacterSpansBecomeTheTokensThatShareACharacterWithThem) {
  Prompt prompt;
  prompt.id = "p";
  prompt.text = "<bos> The code of numeric is 2461. More";
  prompt.answer = " 2461";
  prompt.spans = {{"needle", 28, 33}};  // " 2461": digits are single tokens
  const TokenizedPrompt result = tokenize(prompt, &demo_tokenizer(), {});
  ASSERT_EQ(result.spans.size(), 1U);
  EXPECT_EQ(result.spans[0].end - result.spans[0].begin, 4);
  for (trace::Index i = 0; i < 4; ++i) {
    EXPECT_EQ(result.tokens[static_cast<std::size_t>(result.spans[0].begin + i)],
              result.future[static_cast<std::size_t>(i)]);
  }
}

TEST(Prompts, SpansCountCodePointsNotBytes) {
  Prompt prompt;
  prompt.id = "p";
  prompt.text = "<bos> \xc3\xa9\xc3\xa9 7";  // two characters of two bytes before the digit, which is character 9
  prompt.answer = " 7";
  prompt.spans = {{"digit", 9, 10}};
  const TokenizedPrompt result = tokenize(prompt, &demo_tokenizer(), {});
  ASSERT_EQ(result.spans.size(), 1U);
  EXPECT_EQ(result.tokens[static_cast<std::size_t>(result.spans[0].end - 1)], result.future[0]);
}

TEST(Prompts, ErrorsNameThePromptAndWhatIsWrong) {
  EXPECT_THAT(message_of([] { tokenize(ids(0), nullptr, {}); }), HasSubstr("prompt 'p' (): is empty"));
  EXPECT_THAT(message_of([] { tokenize(ids(4), nullptr, {.evict_at = EvictAt::kContext}); }), HasSubstr("context"));
  EXPECT_THAT(message_of([] {
                tokenize(ids(4), nullptr, {.future = {FutureRule::Kind::kAnswer, 0}});
              }),
              HasSubstr("answer"));
  Prompt whole = ids(4);
  whole.spans = {{"context", 0, 4}};
  EXPECT_THAT(message_of([&] { tokenize(whole, nullptr, {.evict_at = EvictAt::kContext}); }), HasSubstr("no question"));
  whole.spans = {{"context", 0, 5}};
  EXPECT_THAT(message_of([&] { tokenize(whole, nullptr, {}); }), HasSubstr("outside the prompt's 4 positions"));
}

}  // namespace
}  // namespace evictlab::runtime
