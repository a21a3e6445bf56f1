#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/policy/parameters.hpp"

namespace evictlab::sim {

/// A policy as a user asks for it:
///   policies := policy {"," policy}     policy := name ["(" key=value {"," key=value} ")"]
/// for example "full,snapkv(window=32,kernel=7)". Blanks around names, keys and values are ignored.
struct PolicySpec {
  std::string name;
  KeyValues parameters;  // in the order given
};

/// Throws PolicyError: empty, unbalanced parentheses, a parameter without "=", given twice or empty.
PolicySpec parse_policy(std::string_view text);
std::vector<PolicySpec> parse_policies(std::string_view list);

/// The items of a list separated by commas that are outside parentheses, trimmed. Throws PolicyError
/// for unbalanced parentheses and for an empty item; `what` names the list in the message.
std::vector<std::string> split_list(std::string_view list, std::string_view what);

}  // namespace evictlab::sim
