#include "runtime/live/text_metrics.hpp"

namespace evictlab::runtime {
namespace {

TEST(TextMetrics, ExactMatchLooksAtWordsAlone) {
  EXPECT_EQ(exact_match(" 2461\n", "2461"), 1.0);
  EXPECT_EQ(exact_match("24 61", "2461"), 0.0);
  EXPECT_EQ(exact_match("", " "), 1.0);
}

// Three of the four words are among the answer's five, "the" once: 2 * 3 / (4 + 5).
TEST(TextMetrics, F1CountsWordsInCommonAsOftenAsBothHaveThem) {
  EXPECT_DOUBLE_EQ(word_f1("the the cat sat", "the cat sat on it"), 6.0 / 9);
  EXPECT_EQ(word_f1("cat", "dog"), 0.0);
  EXPECT_EQ(word_f1("", "dog"), 0.0);
  EXPECT_EQ(word_f1("", ""), 1.0);
}

// "a c d" is the longest common subsequence: 2 * 3 / (4 + 4).
TEST(TextMetrics, RougeLCountsTheLongestCommonSubsequence) {
  EXPECT_DOUBLE_EQ(rouge_l("a b c d", "a c b d"), 6.0 / 8);
  EXPECT_DOUBLE_EQ(rouge_l("d c b a", "a b c d"), 2.0 / 8);
  EXPECT_EQ(rouge_l("a b", "a b"), 1.0);
}

}  // namespace
}  // namespace evictlab::runtime
