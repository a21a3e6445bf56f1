#pragma once

#include <cstddef>
#include <span>

#include "core/half.hpp"

// What has to be known of stored rows before anything is computed from them, at the speed of reading them: whether
// their values can be probabilities or masses, and what they add up to.

namespace evictlab::core {

/// Describes a row by one pass over it.
struct RowSum {
  double sum = 0.0;      // where they are regular to within kRowSumError of itself
  bool regular = true;   // every value is finite and neither negative nor -0
  float largest = 0.0F;  // where they are regular; 0 of an empty row
};
inline constexpr double kRowSumError = 0x1p-17;
/// The fastest instruction set of the machine is chosen at run time; the result does not depend on the choice.
RowSum row_sum(std::span<const Half> row);
RowSum row_sum(std::span<const float> row);

/// Whether no value is infinite or NaN.
bool all_finite(std::span<const Half> values);
bool all_finite(std::span<const float> values);

/// One implementation of these. All of them give the same results.
template <typename Element>
struct RowSumKernels {
  const char* name;
  bool supported;  // by this machine: calling one that is not is an illegal instruction
  RowSum (*sum)(std::span<const Element> row);
  bool (*finite)(std::span<const Element> values);
};

/// Every implementation, the fastest first; the last one is portable and always supported. Element: Half or float.
template <typename Element>
std::span<const RowSumKernels<Element>> row_sum_kernels();

}  // namespace evictlab::core
