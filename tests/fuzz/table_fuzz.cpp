#include "input.hpp"
#include "results/table.hpp"

#include <cstdlib>

// What is read is written and read back the same.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return evictlab::fuzz::expect_error_or_success([&] {
    using evictlab::results::Table;
    const std::string written = Table::from_csv(evictlab::fuzz::text(data, size), "table.csv").to_csv();
    if (Table::from_csv(written, "again.csv").to_csv() != written) std::abort();
  });
}
