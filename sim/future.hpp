#pragma once

#include "sim/importance.hpp"

namespace evictlab::sim {

/// What the future pays each prompt position, [kept sets, n], from future mass [H, n+T]: the sum over a
/// set's query heads of mass / the head's own total. Retained mass is exactly the sum of these over the
/// kept positions, plus the future positions' share, divided by H.
trace::RowMatrix future_importance(const trace::LayerShape& shape, const trace::TensorView& mass,
                                   Granularity granularity);

}  // namespace evictlab::sim
