#pragma once

#include <cstdint>
#include <vector>

#include "runtime/tokenizer/json_node.hpp"

namespace evictlab::runtime {

/// The tokens that encoding with special tokens puts around a text.
struct Template {
  std::vector<std::int32_t> before;
  std::vector<std::int32_t> after;
};

/// The "post_processor" of a tokenizer.json: TemplateProcessing, ByteLevel (which concerns only the
/// library's offsets and adds nothing) or a Sequence of them. Throws TokenizerError for any other.
Template make_template(const JsonNode& node);

}  // namespace evictlab::runtime
