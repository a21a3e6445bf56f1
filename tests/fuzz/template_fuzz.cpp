#include "input.hpp"
#include "runtime/prompts/chat.hpp"

// A chat template and what it makes of a conversation.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success([&] {
    const std::string text(evictlab::fuzz::text(data, size));
    const auto render = evictlab::runtime::chat_renderer(
        {.text = text, .where = "fuzz.jinja", .bos_token = "<s>", .eos_token = "</s>"}, true);
    static_cast<void>(render({{"system", " Be brief. "}, {"user", "<think>\xC3\xA9</think>\n1"}}, true));
  });
}
