#include "runtime/prompts/shared_text.hpp"

#include <gmock/gmock.h>

#include <numeric>

namespace evictlab::runtime {
namespace {

/// 200 tokens from `first` on, the context from position 10.
TokenizedPrompt prompt_of(const std::string& id, std::int32_t first, const std::string& document = "") {
  TokenizedPrompt prompt{id, "task", "", std::vector<std::int32_t>(200), {}, 0, {}};
  std::iota(prompt.tokens.begin(), prompt.tokens.end(), first);
  prompt.spans.push_back({"context", 10, 200});
  prompt.document = document;
  return prompt;
}

/// `count` tokens of a at `from` put into b at `to`.
void share(const TokenizedPrompt& a, std::size_t from, TokenizedPrompt& b, std::size_t to, std::size_t count) {
  std::copy_n(a.tokens.begin() + static_cast<std::ptrdiff_t>(from), count,
              b.tokens.begin() + static_cast<std::ptrdiff_t>(to));
}

TEST(SharedText, FiftyConsecutiveTokensMakeOneDocumentWhereverTheyLie) {
  for (std::size_t to = 30; to < 60; to += 7) {
    std::vector<TokenizedPrompt> prompts = {prompt_of("a", 1000), prompt_of("b", 2000), prompt_of("c", 3000)};
    share(prompts[0], 23, prompts[2], to, 50);
    const std::vector<SharedText> shared = merge_documents_by_text(prompts);
    ASSERT_EQ(shared.size(), 1U) << to;
    EXPECT_EQ(shared[0].tokens, 50U);
    EXPECT_EQ(prompts[0].document, "a");
    EXPECT_EQ(prompts[1].document, "");
    EXPECT_EQ(prompts[2].document, "a");
  }
}

TEST(SharedText, FewerTokensTheTemplateAndTheSameDocumentDoNotCount) {
  std::vector<TokenizedPrompt> prompts = {prompt_of("a", 1000, "x"), prompt_of("b", 2000, "y"),
                                          prompt_of("c", 1000, "x")};
  share(prompts[0], 23, prompts[1], 40, 49);
  EXPECT_TRUE(merge_documents_by_text(prompts).empty());
  std::vector<TokenizedPrompt> begin_alike = {prompt_of("a", 1000), prompt_of("b", 2000)};
  for (TokenizedPrompt& prompt : begin_alike) prompt.spans.clear();
  share(begin_alike[0], 0, begin_alike[1], 0, 100);
  EXPECT_TRUE(merge_documents_by_text(begin_alike).empty()) << "what all prompts of a task begin with is a template";
  EXPECT_EQ(begin_alike[1].document, "");
}

}  // namespace
}  // namespace evictlab::runtime
