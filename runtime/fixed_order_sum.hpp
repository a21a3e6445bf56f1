#pragma once

#include <Eigen/Core>

namespace evictlab::runtime {

/// term(0) + ... + term(size - 1) in double, as eight interleaved partial sums: the order is fixed,
/// whatever vectors the machine has, and a compiler may still use them.
template <typename Term>
double fixed_order_sum(Eigen::Index size, Term term) {
  constexpr Eigen::Index kLanes = 8;
  double lanes[kLanes] = {};
  Eigen::Index i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (Eigen::Index lane = 0; lane < kLanes; ++lane) lanes[lane] += static_cast<double>(term(i + lane));
  }
  for (; i < size; ++i) lanes[i % kLanes] += static_cast<double>(term(i));
  double sum = 0.0;
  for (const double lane : lanes) sum += lane;
  return sum;
}

}  // namespace evictlab::runtime
