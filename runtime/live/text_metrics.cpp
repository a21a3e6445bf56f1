#include "runtime/live/text_metrics.hpp"

#include <algorithm>
#include <cctype>
#include <map>

namespace evictlab::runtime {
namespace {

double harmonic(std::size_t common, std::size_t first, std::size_t second) {
  return first + second == 0 ? 1.0 : 2.0 * static_cast<double>(common) / static_cast<double>(first + second);
}

std::size_t longest_common_subsequence(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::size_t> lengths(b.size() + 1, 0);  // of a's first words with b's first j
  for (const std::string& word : a) {
    std::size_t diagonal = 0;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = lengths[j];
      lengths[j] = word == b[j - 1] ? diagonal + 1 : std::max(above, lengths[j - 1]);
      diagonal = above;
    }
  }
  return lengths.back();
}

}  // namespace

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  for (const char c : text) {
    const bool space = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (!space && !inside) words.emplace_back();
    if (!space) words.back().push_back(c);
    inside = !space;
  }
  return words;
}

double exact_match(std::string_view output, std::string_view answer) {
  return words_of(output) == words_of(answer) ? 1.0 : 0.0;
}

double word_f1(std::string_view output, std::string_view answer) {
  const std::vector<std::string> ours = words_of(output);
  const std::vector<std::string> theirs = words_of(answer);
  std::map<std::string, std::size_t> counts;
  for (const std::string& word : theirs) ++counts[word];
  std::size_t common = 0;
  for (const std::string& word : ours) {
    const auto found = counts.find(word);
    if (found == counts.end() || found->second == 0) continue;
    --found->second;
    ++common;
  }
  return harmonic(common, ours.size(), theirs.size());
}

double rouge_l(std::string_view output, std::string_view answer) {
  const std::vector<std::string> ours = words_of(output);
  const std::vector<std::string> theirs = words_of(answer);
  return harmonic(longest_common_subsequence(ours, theirs), ours.size(), theirs.size());
}

}  // namespace evictlab::runtime
