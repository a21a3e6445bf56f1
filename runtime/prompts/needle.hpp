#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/prompts/prompt_template.hpp"

namespace evictlab::runtime {

/// Needles in a haystack: a sentence with a number hidden in a text of each length at each depth.
struct NeedleGrid {
  std::vector<std::int64_t> lengths;  // of whole prompts, in positions
  std::vector<double> depths;         // 0 = at the start of the haystack, 1 = at its end
  std::uint64_t seed = 0;             // of the numbers
  std::string name = "needle";        // ids are NAME-LENGTH-DEPTH
};

/// One prompt for each length and depth: as much of `haystack` as fits, repeated where it is too short; the needle
/// after the end of a sentence at or before its depth; the question last. Spans are context, needle and question, the
/// answer is the number. `form` may replace the words around it. Throws PromptError for a length that leaves no room
/// and an empty haystack; `source` names it.
std::vector<Prompt> needle_prompts(std::string_view haystack, const std::string& source, const NeedleGrid& grid,
                                   const TextTokenizer& tokenizer, const PromptTemplate* form = nullptr);

}  // namespace evictlab::runtime
