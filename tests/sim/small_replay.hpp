#pragma once

#include <string>

#include "sim/policy/registry.hpp"
#include "sim/replay/replay.hpp"
#include "trace/synthetic.hpp"

// A small trace of the full tier, and its replay.

namespace evictlab::sim {

inline trace::SyntheticOptions small_options() {
  trace::SyntheticOptions options;
  options.prompts = 3;
  options.layers = 3;
  options.length = 100;
  options.future = 12;
  options.window = 32;
  return options;
}

inline const trace::MemoryTrace& small_trace() {
  static const trace::MemoryTrace trace = synthesize(small_options());
  return trace;
}

inline ReplayResult run(const trace::Source& source, const std::string& policies, const std::string& budgets) {
  return replay(source, make_policies(policies), parse_budgets(budgets));
}

}  // namespace evictlab::sim
