#include "input.hpp"
#include "runtime/tokenizer/sentencepiece_tokenizer.hpp"

// Loading alone: the library trusts a table of normalisation that it has loaded, so that encoding with a damaged one
// crashes inside it, which the program turns into one line (core::ScopedCrashMessage).
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success([&] {
    const evictlab::runtime::SentencePieceTokenizer tokenizer(evictlab::fuzz::file("tokenizer.model", data, size));
  });
}
