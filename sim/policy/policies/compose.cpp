// Any scorer with any allocator and selector: sim/policy/compose.hpp.

#include "sim/policy/compose.hpp"
#include "sim/policy/registry.hpp"

namespace evictlab::sim {

PolicyDefinition compose() {
  return {.description = "any scorer with any allocator and selector, to tell which part of a method earns its gain",
          .source = "own",
          .parameters = compose_parameters({}),
          .parameters_for = compose_parameters,
          .build = composed_policy};
}

}  // namespace evictlab::sim
