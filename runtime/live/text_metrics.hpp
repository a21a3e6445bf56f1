#pragma once

#include <string>
#include <string_view>
#include <vector>

// Scores of an answer against the expected one. Words are separated by white space and compared as written.

namespace evictlab::runtime {

std::vector<std::string> words_of(std::string_view text);

/// 1 if both have the same words in the same order, else 0.
double exact_match(std::string_view output, std::string_view answer);

/// F1 over words (Rajpurkar et al. 2016, SQuAD): with c words in common, counted as often as both have them,
/// 2c / (words of output + words of answer). 1 if both are empty.
double word_f1(std::string_view output, std::string_view answer);

/// ROUGE-L (Lin 2004): with l the length of the longest common subsequence of words,
/// 2l / (words of output + words of answer). 1 if both are empty.
double rouge_l(std::string_view output, std::string_view answer);

}  // namespace evictlab::runtime
