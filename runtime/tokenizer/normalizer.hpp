#pragma once

#include <functional>

#include "runtime/tokenizer/json_node.hpp"
#include "runtime/tokenizer/pieces.hpp"

namespace evictlab::runtime {

/// Rewrites a text before it is cut into words.
using Normalizer = std::function<AlignedText(AlignedText)>;

/// The "normalizer" of a tokenizer.json: NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace or a Sequence of
/// them. Throws TokenizerError for any other.
Normalizer make_normalizer(const JsonNode& node);

}  // namespace evictlab::runtime
