#pragma once

#include <string_view>

#include "core/error.hpp"
#include "core/json.hpp"
#include "core/message.hpp"

namespace evictlab::runtime {

/// A tokenizer.json that cannot be used, or text that cannot be encoded with it.
class TokenizerError : public core::InputError {
 public:
  using core::InputError::InputError;
};

/// Refuses a component of a tokenizer.json whose "type" is not one of the `known`.
[[noreturn]] inline void refuse_type(const core::JsonNode& component, std::string_view known) {
  const core::JsonNode type = component.at("type");
  type.fail("{} is not supported; known: {}", core::quote(type.string()), known);
}

}  // namespace evictlab::runtime
