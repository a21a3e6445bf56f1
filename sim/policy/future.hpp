#pragma once

#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// What the future pays each prompt position, [kept sets, n], from future mass [H, n+T]: the sum over a
/// set's query heads of mass / the head's own total. Retained mass is exactly the sum of these over the
/// kept positions, plus the future positions' share, divided by H.
trace::RowMatrix future_importance(const trace::LayerShape& shape, const trace::TensorView& mass,
                                   Granularity granularity);

/// What the future pays the protected positions of one kept set: `shares` [n] is its row of future_importance.
template <typename Row>
double protected_share(const Row& shares, const PositionRanges& ranges) {
  double share = 0.0;
  for (Index j = ranges.first_visible; j < ranges.candidates_begin; ++j) share += shares[j];
  for (Index j = ranges.candidates_end; j < ranges.prompt_length; ++j) share += shares[j];
  return share;
}

}  // namespace evictlab::sim
