#include "core/safetensors.hpp"
#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success([&] {
    const evictlab::core::SafetensorsFile file(evictlab::fuzz::file("model.safetensors", data, size));
    std::size_t sum = 0;
    for (const auto& tensor : file.tensors()) {  // every byte it promises can be read
      for (const std::byte byte : tensor.bytes) sum += static_cast<std::size_t>(byte);
    }
    volatile std::size_t used = sum;
    static_cast<void>(used);
  });
}
