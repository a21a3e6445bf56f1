#pragma once

#include <string>
#include <string_view>

#include "core/error.hpp"

namespace evictlab::runtime {

/// A tokenizer.json that cannot be used, or text that cannot be encoded with it.
class TokenizerError : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// `text` in single quotes, fit for one line of a message: control characters escaped, cut after 60 bytes.
std::string shown(std::string_view text);

}  // namespace evictlab::runtime
