#include "runtime/tokenizer/pattern.hpp"

#include <string>

namespace evictlab::runtime {
namespace {

// `compile()`, with the node's place in front of the message of a TokenizerError.
template <typename Compile>
Regex compile_at(const JsonNode& node, const Compile& compile) {
  try {
    return compile();
  } catch (const TokenizerError& error) {
    node.fail("{}", error.what());
  }
}

}  // namespace

Regex make_pattern(const JsonNode& node) {
  if (const auto text = node.find("String")) {
    if (text->string().empty()) text->fail("is empty");
    return compile_at(*text, [&] { return Regex::literal(text->string()); });
  }
  if (const auto pattern = node.find("Regex")) {
    return compile_at(*pattern, [&] { return Regex::oniguruma(pattern->string()); });
  }
  node.fail("expected a 'String' or a 'Regex'");
}

}  // namespace evictlab::runtime
