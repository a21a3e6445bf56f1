#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/json.hpp"
#include "runtime/tokenizer/pieces.hpp"

// The components of a tokenizer.json around its model, in the order a text passes them. Each is read from its JSON; a
// type that is not known is refused with a TokenizerError that names those that are.

namespace evictlab::runtime {

/// Rewrites a text before it is cut into words.
using Normalizer = std::function<AlignedText(AlignedText)>;

/// Reads NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace or a Sequence of them.
Normalizer make_normalizer(const core::JsonNode& node);

/// Cuts a text into the words the model tokenizes one by one; may rewrite them.
using PreTokenizer = std::function<void(PiecedText&)>;

/// Reads ByteLevel, Split, Digits, Whitespace, WhitespaceSplit or a Sequence of them.
PreTokenizer make_pre_tokenizer(const core::JsonNode& node);

/// The tokens that encoding with special tokens puts around a text.
struct Template {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> after;
};

/// Reads TemplateProcessing, ByteLevel (which concerns only the library's offsets and adds nothing) or a Sequence of
/// them.
Template make_template(const core::JsonNode& node);

/// Turns the texts of tokens into the pieces of a text, which put together are the decoded text.
using Decoder = std::function<std::vector<std::string>(std::vector<std::string>)>;

/// Reads ByteLevel, Fuse, Replace, ByteFallback, Strip or a Sequence of them.
Decoder make_decoder(const core::JsonNode& node);

}  // namespace evictlab::runtime
