#include "core/json.hpp"
#include "input.hpp"

// Every value that was read can be named in a message.
void visit(const evictlab::core::JsonNode& node) {
  evictlab::fuzz::expect_error_or_success([&] { node.fail("{}", node.text()); });
  if (node.is_array()) {
    for (const auto& item : node.items()) visit(item);
  } else if (node.is_object()) {
    for (const auto& member : node.members()) visit(member.value);
  }
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success([&] {
    const auto document = evictlab::core::JsonDocument::parse(evictlab::fuzz::text(data, size), "fuzz.json");
    visit(document.root());
  });
}
