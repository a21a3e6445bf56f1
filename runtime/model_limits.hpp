#pragma once

#include "trace/tensor.hpp"

namespace evictlab::runtime {

// Far beyond any model, small enough that no product of two sizes overflows.
inline constexpr trace::Index kMostLayers = 10'000;
inline constexpr trace::Index kLargestSize = 1 << 24;

}  // namespace evictlab::runtime
