// Only what other policies protect anyway, the first and the last positions, and nothing of the rest of the
// budget: the floor. What a method gains above it is its selection's doing.

#include "sim/policy/common_parameters.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition protect_only() {
  return {.description = "keeps the protected positions and nothing else, below any budget: the floor",
          .source = "own",
          .role = results::Role::kControl,
          .parameters = protection_parameters(4, 32),
          .build = [](const Parameters& given) {
            return assembled(given, {.allocator = {"protected"}, .protection = protection_from(given)});
          }};
}

}  // namespace evictlab::sim
