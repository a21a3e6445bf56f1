#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace evictlab::runtime {

/// Part [begin, end) of a text: what a pattern matched, or what lies between matches.
struct PatternSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool matched = false;
};

/// A compiled pattern; cheap to copy, usable by several threads.
class Regex {
 public:
  /// A pattern as tokenizer.json files write it (Oniguruma, Ruby syntax). Throws TokenizerError.
  static Regex oniguruma(std::string_view pattern);
  /// A pattern in PCRE2's own notation, under PCRE2_UTF | PCRE2_UCP. Throws TokenizerError.
  static Regex pcre2(std::string_view pattern);
  /// The text itself, which must not be empty.
  static Regex literal(std::string_view text);

 private:
  friend class RegexSearch;
  struct Code;
  explicit Regex(std::shared_ptr<const Code> code) : code_(std::move(code)) {}
  std::shared_ptr<const Code> code_;
};

/// Searches texts for one pattern; owns what a search needs, so each thread has its own.
class RegexSearch {
 public:
  explicit RegexSearch(Regex regex);
  ~RegexSearch();
  RegexSearch(RegexSearch&&) noexcept;
  RegexSearch& operator=(RegexSearch&&) noexcept;

  /// The whole of `text` (well-formed UTF-8) in order: matches, leftmost first and not overlapping, and
  /// what lies between them. An empty match directly after a match does not count. Throws TokenizerError
  /// when the pattern backtracks beyond all measure.
  const std::vector<PatternSpan>& spans(std::string_view text);

 private:
  struct State;
  std::optional<PatternSpan> next_match(std::string_view text, std::size_t from);

  Regex regex_;
  std::unique_ptr<State> state_;
  std::vector<PatternSpan> spans_;
};

}  // namespace evictlab::runtime
