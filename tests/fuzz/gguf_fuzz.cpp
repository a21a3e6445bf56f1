#include "core/gguf.hpp"
#include "input.hpp"
#include "runtime/model_config.hpp"
#include "runtime/tokenizer/tokenizer.hpp"

// The file, every byte that it promises, and what its metadata describe.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success([&] {
    const evictlab::core::GgufFile file(evictlab::fuzz::file("model.gguf", data, size));
    std::size_t sum = 0;
    for (const auto& tensor : file.tensors()) {
      for (const std::byte byte : tensor.bytes) sum += static_cast<std::size_t>(byte);
    }
    volatile std::size_t used = sum;
    static_cast<void>(used);
    evictlab::fuzz::expect_error_or_success([&] { evictlab::runtime::read_gguf_config(file); });
    const auto tokenizer = evictlab::runtime::Tokenizer::from_gguf(file);
    static_cast<void>(tokenizer.decode(tokenizer.encode("The code of x3 is 28371.\n", true).ids, false));
  });
}
