#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace evictlab::runtime::jinja {

struct Token {
  enum class Kind { kText, kBlockBegin, kBlockEnd, kOutputBegin, kOutputEnd, kName, kString, kNumber, kOperator, kEnd };
  Kind kind = Kind::kEnd;
  std::string text;  // a string's is decoded
  int line = 1;

  bool is(Kind other, std::string_view words) const { return kind == other && text == words; }
};

/// A template's tokens; the last is kEnd. Texts are as with Jinja's trim_blocks and lstrip_blocks, which transformers
/// sets: a line break after a block is dropped, and so is what indents one. Comments are left out. Throws JinjaError
/// naming the line.
std::vector<Token> tokens_of(std::string_view source);

/// What Python's str.isspace() calls space.
bool is_python_space(char32_t code_point);
/// `text` without the space at its start, at its end, or both.
std::string_view strip_start(std::string_view text);
std::string_view strip_end(std::string_view text);

}  // namespace evictlab::runtime::jinja
