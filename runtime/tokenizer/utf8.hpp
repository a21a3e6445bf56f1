#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace evictlab::runtime {

struct CodePoint {
  char32_t value = 0;
  std::size_t size = 0;  ///< bytes it takes, 1-4
};

/// The code point that starts at byte `at` of well-formed UTF-8.
CodePoint code_point_at(std::string_view text, std::size_t at);

/// The code point that ends at byte `end` > 0 of well-formed UTF-8.
CodePoint code_point_before(std::string_view text, std::size_t end);

void append_utf8(std::string& out, char32_t code_point);

/// Offset of the first byte that is not part of well-formed UTF-8 (Unicode table 3-7); empty if there is none.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// `bytes` with each maximal subpart of an ill-formed sequence replaced by U+FFFD (Unicode section 3.9).
std::string replace_invalid_utf8(std::string_view bytes);

/// Byte offset of each code point of well-formed UTF-8, and text.size() at the end: code points [i, j) of the
/// text are its bytes [offsets[i], offsets[j]). Throws TokenizerError for ill-formed text.
std::vector<std::size_t> code_point_offsets(std::string_view text);

/// The Unicode property White_Space.
bool is_white_space(char32_t code_point);

}  // namespace evictlab::runtime
