#pragma once

#include "core/error.hpp"

namespace evictlab::sim {

/// A policy, a parameter or a budget that does not exist, is out of range, or does not fit the trace.
class PolicyError : public core::InputError {
 public:
  using core::InputError::InputError;
};

}  // namespace evictlab::sim
