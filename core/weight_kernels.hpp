#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "core/storage_type.hpp"

namespace evictlab::core {

/// One implementation of what is computed from stored weights. All implementations give the same bits.
struct WeightKernels {
  struct OfType {
    /// Expands `count` numbers, as expand().
    void (*expand)(const std::byte* stored, std::size_t count, float* out);
    /// out[r] = the product of row r with `x`, as multiply_rows().
    void (*multiply)(std::span<const std::byte* const> rows, std::span<const float> x, float* out);
  };

  const char* name;
  bool supported;  // by this machine: calling one that is not is an illegal instruction
  std::array<OfType, kStorageTypes> types;

  const OfType& of(StorageType type) const { return types[static_cast<std::size_t>(type)]; }
};

/// Every implementation, the fastest first; the last one is portable and always supported.
std::span<const WeightKernels> weight_kernels();

}  // namespace evictlab::core
