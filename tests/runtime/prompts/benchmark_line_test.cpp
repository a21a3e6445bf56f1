#include "runtime/prompts/benchmark_line.hpp"

#include "../model_files.hpp"
#include "runtime/prompts/longbench.hpp"
#include "runtime/prompts/needle.hpp"
#include "runtime/tokenizer/tokenizer.hpp"

namespace evictlab::runtime {
namespace {

using nlohmann::json;

using ::testing::HasSubstr;

std::string part(const Prompt& prompt, const std::string& name) {
  const auto span = std::ranges::find(prompt.spans, name, &Prompt::Span::name);
  return prompt.text.substr(static_cast<std::size_t>(span->start), static_cast<std::size_t>(span->end - span->start));
}

Prompt read(const json& line, const PromptTemplate* form = nullptr) {
  Prompt prompt;
  prompt.id = "file-1";
  prompt.task = "file";
  const auto document = core::JsonDocument::parse<PromptError>(line.dump(), "file:1");
  EXPECT_TRUE(read_benchmark_line(PromptLine(document.root()), form, prompt));
  return prompt;
}

TEST(PromptTemplate, PutsThePartsInTheirPlacesAndMarksThem) {
  Prompt prompt;
  PromptTemplate("<{context}|{other}|{question}>", "t").fill("a{input}b", "why?", prompt);
  EXPECT_EQ(prompt.text, "<a{input}b|{other}|why?>") << "what is put in is not looked into";
  EXPECT_EQ(part(prompt, "context"), "a{input}b");
  EXPECT_EQ(part(prompt, "question"), "why?");
}

TEST(PromptTemplate, CountsCodePoints) {
  Prompt prompt;
  PromptTemplate("\u6587\u7AE0\uFF1A{context}\n\u56DE\u7B54\uFF1A", "t").fill("\u4E1C\u4EAC", "", prompt);
  ASSERT_EQ(prompt.spans.size(), 2U);
  EXPECT_EQ(prompt.spans[0].start, 3);
  EXPECT_EQ(prompt.spans[0].end, 5);
  EXPECT_EQ(prompt.spans[1].name, "question") << "without one, what follows the context asks";
  EXPECT_EQ(prompt.spans[1].start, 5);
  EXPECT_EQ(prompt.spans[1].end, 9);
}

TEST(PromptTemplate, NeedsAContextOnce) {
  for (const char* text : {"no place", "{context} {context}"}) {
    EXPECT_THAT(testing::refusal<PromptError>([&] { PromptTemplate(text, "form.txt"); }), HasSubstr("form.txt: "));
  }
}

TEST(LongBench, EveryDatasetHasAPromptAndALength) {
  int datasets = 0;
  const std::string names = longbench_datasets();
  for (std::size_t at = 0; at < names.size(); ++datasets) {
    const std::size_t end = std::min(names.find(", ", at), names.size());
    const LongBenchTask* task = find_longbench_task(names.substr(at, end - at));
    ASSERT_NE(task, nullptr);
    EXPECT_GE(task->answer_length, 32);
    PromptTemplate(std::string(task->prompt), "table");
    at = end + 2;
  }
  EXPECT_EQ(datasets, 21);
  EXPECT_EQ(find_longbench_task("qasper_e"), find_longbench_task("qasper"));
  EXPECT_EQ(find_longbench_task("mmlu"), nullptr);
}

TEST(BenchmarkLine, LongBenchAsksAsItsDatasetDoes) {
  const Prompt prompt =
      read({{"_id", "x1"}, {"dataset", "trec"}, {"context", "Q"}, {"input", "q?"}, {"answers", {"A", "B"}}});
  EXPECT_EQ(prompt.text,
            "Please determine the type of the question below. Here are some examples of questions.\n\nQ\nq?");
  EXPECT_EQ(prompt.id, "x1");
  EXPECT_EQ(prompt.task, "trec");
  EXPECT_EQ(prompt.answer, "A");
  EXPECT_EQ(prompt.answer_length, 64);
  EXPECT_TRUE(prompt.cut_to_fit);
  EXPECT_EQ(part(prompt, "context"), "Q");
  EXPECT_EQ(part(prompt, "question"), "q?");
}

TEST(BenchmarkLine, RulerEndsItsContextBeforeTheLastLine) {
  const Prompt prompt = read({{"index", 3},
                              {"input", "A text with 17 and 25.\nWhich numbers?"},
                              {"outputs", {"17", "25"}},
                              {"answer_prefix", " They are"}});
  EXPECT_EQ(prompt.text, "A text with 17 and 25.\nWhich numbers?");
  EXPECT_EQ(prompt.answer_start.plain, " They are");
  EXPECT_EQ(prompt.id, "file-3");
  EXPECT_EQ(prompt.answer, "17, 25");
  EXPECT_EQ(part(prompt, "context"), "A text with 17 and 25.\n");
  EXPECT_EQ(part(prompt, "question"), "Which numbers?");
  ASSERT_EQ(prompt.spans.size(), 4U);
  EXPECT_EQ(prompt.spans[2].start, 12);
  EXPECT_EQ(prompt.spans[3].start, 19);
}

TEST(BenchmarkLine, RulerOfKvpressAsksRightAfterTheContextForTheWholeList) {
  const Prompt prompt = read({{"task", "niah_multivalue"},
                              {"context", "17 is here. 25 too. "},
                              {"question", "Which?"},
                              {"answer_prefix", "They are"},
                              {"answer", {"17", "25"}},
                              {"max_new_tokens", 64}});
  EXPECT_EQ(prompt.text, "17 is here. 25 too. Which?");
  EXPECT_EQ(prompt.answer_start.plain, "\nThey are") << "as kvpress separates them without a chat template";
  EXPECT_EQ(prompt.answer_start.chat, "They are");
  EXPECT_EQ(prompt.answer, "17, 25");
  EXPECT_EQ(prompt.answer_length, 64);
  EXPECT_EQ(part(prompt, "context"), "17 is here. 25 too. ");
  EXPECT_EQ(part(prompt, "needle"), "17");
}

TEST(BenchmarkLine, InfiniteBenchLettersItsOptionsAndTakesTheFirstAnswer) {
  const Prompt prompt = read({{"id", 4},
                              {"context", "A novel."},
                              {"input", "Who?"},
                              {"options", {"Ann", "Bob"}},
                              {"answer", {"Ann", "Anna"}}});
  EXPECT_EQ(prompt.text, "A novel.\n\nWho?\nA. Ann\nB. Bob\n");
  EXPECT_EQ(prompt.answer, "Ann");
  EXPECT_EQ(part(prompt, "question"), "Who?\nA. Ann\nB. Bob");
}

TEST(BenchmarkLine, OurOwnLinesAreNone) {
  for (const char* line : {R"({"prompt": "p", "answers": ["a"]})", R"({"id": "p"})"}) {
    const auto document = core::JsonDocument::parse<PromptError>(line, "file:1");
    Prompt prompt;
    EXPECT_FALSE(read_benchmark_line(PromptLine(document.root()), nullptr, prompt)) << line;
  }
}

TEST(Needles, TheSameSeedHidesTheSameNumbersAtTheEndsOfSentences) {
  const auto tokenizer = Tokenizer::load(std::filesystem::path(EVICTLAB_SOURCE_DIR) / "models/demo/tokenizer.json");
  const NeedleGrid grid{.lengths = {300}, .depths = {0.0, 0.5, 1.0}, .seed = 1};
  const std::string text = "The file is read. Then it is closed! Is it? The end of it is near, they say.\n";
  const std::vector<Prompt> prompts = needle_prompts(text, "t", grid, tokenizer);
  ASSERT_EQ(prompts.size(), 3U);
  for (const Prompt& prompt : prompts) {
    EXPECT_LE(tokenizer.encode(prompt.text, true).ids.size(), 300U);
    EXPECT_EQ(part(prompt, "needle"), "The number of the archive is " + prompt.answer + ".");
  }
  const std::string context = part(prompts[1], "context");
  EXPECT_THAT(std::string(".?!\n"), HasSubstr(context.substr(context.find(" The number of the archive") - 2, 1)));
  EXPECT_EQ(needle_prompts(text, "t", grid, tokenizer)[1].text, prompts[1].text);
  EXPECT_NE(needle_prompts(text, "t", {grid.lengths, grid.depths, 2}, tokenizer)[1].answer, prompts[1].answer);
}

}  // namespace
}  // namespace evictlab::runtime
