#pragma once

#include "core/error.hpp"

namespace evictlab::runtime {

/// A model cannot be read or run, or was asked for something it cannot do (a token id or a
/// position it does not have).
class ModelError : public core::InputError {
 public:
  using core::InputError::InputError;
};

}  // namespace evictlab::runtime
