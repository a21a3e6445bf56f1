#pragma once

#include <string>

#include "golden_file.hpp"

namespace evictlab::golden {

/// A golden case in our words.
struct Request {
  std::string policy;  // as make_policy() takes it
  double slots = 0.0;  // per kv head, protected positions included, not rounded
};

/// Golden files count as their sources do; this is the only place that converts. Throws core::InputError for an
/// algorithm it does not know.
Request request_for(const Case& golden, const trace::LayerShape& shape);

}  // namespace evictlab::golden
