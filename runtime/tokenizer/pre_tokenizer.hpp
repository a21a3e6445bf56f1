#pragma once

#include <functional>

#include "runtime/tokenizer/json_node.hpp"
#include "runtime/tokenizer/pieces.hpp"

namespace evictlab::runtime {

/// Cuts a text into the words the model tokenizes one by one; may rewrite them.
using PreTokenizer = std::function<void(PiecedText&)>;

/// The "pre_tokenizer" of a tokenizer.json: ByteLevel, Split, Digits, Whitespace, WhitespaceSplit or a
/// Sequence of them. Throws TokenizerError for any other.
PreTokenizer make_pre_tokenizer(const JsonNode& node);

}  // namespace evictlab::runtime
