// Everything is kept: retained mass 1, loss 0, whatever the budget. The upper end of the scale.

#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition full() {
  return {.description = "keeps every position, whatever the budget: the upper end of the scale",
          .source = "own",
          .role = results::Role::kCeiling,
          .parameters = {},
          .build = [](const Parameters& given) { return assembled(given, {.allocator = {"everything"}}); }};
}

}  // namespace evictlab::sim
