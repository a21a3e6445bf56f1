#pragma once

#include <span>

#include "core/half.hpp"

namespace evictlab::core {

/// One implementation of the array conversions of half.hpp. All implementations give the same bits
/// for every input, NaN included (its payload is cut or extended and it is made quiet).
struct HalfKernels {
  const char* name;
  bool supported;  // by this machine: calling one that is not is an illegal instruction
  void (*to_float)(std::span<const Half> in, std::span<float> out, float factor);
  void (*to_half)(std::span<const float> in, std::span<Half> out, float factor);
};

/// Every implementation, the fastest first; the last one is portable and always supported.
std::span<const HalfKernels> half_kernels();

}  // namespace evictlab::core
