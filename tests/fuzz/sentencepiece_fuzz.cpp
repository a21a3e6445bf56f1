#include "input.hpp"
#include "runtime/tokenizer/sentencepiece_tokenizer.hpp"

// The tokenizer.model and, where it is one, texts it has to take apart and put together again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success([&] {
    const evictlab::runtime::SentencePieceTokenizer tokenizer(evictlab::fuzz::file("tokenizer.model", data, size));
    for (const std::string_view text : {"", "The code of x3 is 28371.\n", "  \xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80  "}) {
      const auto encoding = tokenizer.encode(text, true);
      static_cast<void>(tokenizer.decode(encoding.ids, false));
    }
  });
}
