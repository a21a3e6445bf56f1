#pragma once

#include <cmath>

#include "trace/layer.hpp"

// Divisions as the authors' Python computes them.

namespace evictlab::sim {

/// a // b of whole numbers: rounded towards minus infinity. b > 0.
inline trace::Index floor_division(trace::Index a, trace::Index b) { return a / b - (a % b < 0 ? 1 : 0); }

/// a // b of numbers, b > 0: not always floor(a / b), since the remainder is taken exactly first.
inline double floor_division(double a, double b) {
  const double remainder = std::fmod(a, b);
  const double quotient = (a - (remainder < 0.0 ? remainder + b : remainder)) / b;
  const double whole = std::floor(quotient);
  return quotient - whole > 0.5 ? whole + 1.0 : whole;
}

}  // namespace evictlab::sim
