#pragma once

#include "trace/tensor.hpp"

namespace evictlab::runtime {

using trace::Index;

/// Rows given to softmax() are padded to a multiple of this many elements.
inline constexpr Index kSoftmaxPadding = 16;
constexpr Index softmax_padded(Index size) { return (size + kSoftmaxPadding - 1) / kSoftmaxPadding * kSoftmaxPadding; }

/// row_j = exp(scale * (row_j - max)) / sum over the first `visible` >= 1 elements, whose maximum and sum
/// these are; 0 for the others up to `width` >= visible. `row` has room for softmax_padded(width). The sum
/// is taken in double in a fixed order; exponents below -86 count as -86 (4e-38).
void softmax(float* row, Index visible, Index width, float scale);

}  // namespace evictlab::runtime
