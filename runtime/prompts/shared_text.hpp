#pragma once

#include <string>
#include <vector>

#include "runtime/prompts/prompts.hpp"

namespace evictlab::runtime {

/// Prompts that share as many consecutive tokens are of one document.
inline constexpr std::size_t kSharedTokens = 50;

/// Two prompts of different documents that share text.
struct SharedText {
  std::string first;  // ids
  std::string second;
  std::size_t tokens = 0;  // at least so many consecutive ones
};

/// Finds prompts that share kSharedTokens consecutive tokens of their context, and gives them one document: that of the
/// first of them. The context is the span of this name; without one, what follows the beginning that all prompts of the
/// task have in common, which is their template. Returns a pair for every two documents that became one.
std::vector<SharedText> merge_documents_by_text(std::vector<TokenizedPrompt>& prompts);

}  // namespace evictlab::runtime
