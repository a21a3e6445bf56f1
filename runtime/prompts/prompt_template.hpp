#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/prompts/prompts.hpp"

namespace evictlab::runtime {

/// A prompt with places for what differs between prompts: {context}, and {input} or {question}, which are the same.
/// Other braces are text.
class PromptTemplate {
 public:
  /// Throws PromptError, naming `where`, unless there is exactly one {context}.
  PromptTemplate(std::string text, const std::string& where);

  /// Whether it has a place for a question.
  bool asks() const;

  /// Puts the parts in their places: the prompt's text, and as spans in code points the context and the question. Where
  /// there is no place for a question, or none is given, what follows the context asks.
  void fill(std::string_view context, std::string_view question, Prompt& prompt) const;

 private:
  std::string text_;
};

/// How many code points well-formed UTF-8 has.
std::int64_t code_points(std::string_view text);

}  // namespace evictlab::runtime
