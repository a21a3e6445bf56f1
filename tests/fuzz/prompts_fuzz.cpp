#include "input.hpp"
#include "runtime/prompts/prompts.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success(
      [&] { evictlab::runtime::read_prompts(evictlab::fuzz::file("prompts.jsonl", data, size)); });
}
