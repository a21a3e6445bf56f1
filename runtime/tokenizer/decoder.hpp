#pragma once

#include <functional>
#include <string>
#include <vector>

#include "runtime/tokenizer/json_node.hpp"

namespace evictlab::runtime {

/// Turns the texts of tokens into the pieces of a text, which put together are the decoded text.
using Decoder = std::function<std::vector<std::string>(std::vector<std::string>)>;

/// The "decoder" of a tokenizer.json: ByteLevel, Fuse, Replace, ByteFallback, Strip or a Sequence of them.
/// Throws TokenizerError for any other.
Decoder make_decoder(const JsonNode& node);

}  // namespace evictlab::runtime
