#include "input.hpp"
#include "runtime/model_config.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success(
      [&] { evictlab::runtime::read_model_config(evictlab::fuzz::file("config.json", data, size).parent_path()); });
}
