#include "input.hpp"
#include "sim/policy/budget.hpp"
#include "sim/policy/registry.hpp"

// A list of policies, then a list of budgets, told apart by a line end.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view all = evictlab::fuzz::text(data, size);
  const std::size_t end = all.find('\n');
  evictlab::fuzz::expect_error_or_success([&] { evictlab::sim::make_policies(all.substr(0, end)); });
  if (end == std::string_view::npos) return 0;
  return evictlab::fuzz::expect_error_or_success([&] { evictlab::sim::parse_budgets(all.substr(end + 1)); });
}
