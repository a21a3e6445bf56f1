#pragma once

#include "analysis/summary_losses.hpp"
#include "trace/layer.hpp"

// Checks of what losses are computed from.

namespace evictlab::analysis {

/// Throws std::invalid_argument unless these are H sets of ascending prompt positions.
void require_kept_sets(const trace::LayerShape& shape, const KeptSets& kept);

/// Throws std::invalid_argument unless the tensor is [heads, rows, columns].
void require_shape(const char* what, const trace::TensorView& tensor, trace::Index heads, trace::Index rows,
                   trace::Index columns);

}  // namespace evictlab::analysis
