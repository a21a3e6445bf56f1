#pragma once

#include <string>

namespace evictlab::core {

/// Empty when this machine can run what the program was compiled for; otherwise one line that names
/// the instruction sets it lacks and says to use the portable build.
std::string missing_cpu_features();

/// Whether AVX-512 (F, BW, VL) kernels may be used.
bool has_avx512();
/// Whether halves can be converted by the processor.
bool has_f16c();

/// The first of several implementations of the same that this machine supports. They are listed the fastest first, and
/// the last one is always supported.
template <typename Implementations>
const auto& fastest_supported(const Implementations& implementations) {
  auto found = implementations.begin();
  while (!found->supported) ++found;
  return *found;
}

}  // namespace evictlab::core
