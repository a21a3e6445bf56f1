#pragma once

#include "runtime/tokenizer/json_node.hpp"
#include "runtime/tokenizer/regex.hpp"

namespace evictlab::runtime {

/// A "pattern" of a tokenizer.json: {"String": text} or {"Regex": pattern}. Throws TokenizerError.
Regex make_pattern(const JsonNode& node);

}  // namespace evictlab::runtime
