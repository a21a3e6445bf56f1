#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.hpp"

namespace evictlab::runtime {

/// What Rust's regex crate takes for `\w`, as the tokenizers library uses it beside Oniguruma: for the Whitespace
/// pre-tokenizer and for single-word tokens.
inline constexpr std::string_view kRustWord = R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}])";

/// Part [begin, end) of a text: what a pattern matched, or what lies between matches.
struct PatternSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool matched = false;
};

/// Holds a compiled pattern of the Oniguruma library, which the tokenizers library uses as well, so that a pattern
/// means here what it means there. Cheap to copy, usable by several threads.
class Regex {
 public:
  /// Compiles a pattern in Oniguruma's own syntax. Throws TokenizerError.
  static Regex compile(std::string_view pattern);
  /// Matches the text itself, which must not be empty.
  static Regex literal(std::string_view text);
  /// Reads a "pattern" of a tokenizer.json: {"String": text} or {"Regex": pattern}. Throws TokenizerError.
  static Regex read(const core::JsonNode& node);

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

  /// Returns the whole of `text` (well-formed UTF-8) in order: matches, leftmost first and not overlapping, and what
  /// lies between them. An empty match directly after a match does not count. Throws TokenizerError when a match takes
  /// more than 50 million steps back or 256 MiB of memory.
  const std::vector<PatternSpan>& spans(std::string_view text);

 private:
  struct State;
  std::optional<PatternSpan> next_match(std::string_view text, std::size_t from);

  Regex regex_;
  std::unique_ptr<State> state_;
  std::vector<PatternSpan> spans_;
};

}  // namespace evictlab::runtime
