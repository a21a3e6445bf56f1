#pragma once

namespace evictlab::core {

/// Tells Eigen fixed cache sizes in place of this machine's, on which the order of its matrix products' sums
/// depends otherwise. Called by whoever multiplies matrices; more calls change nothing.
void use_fixed_blocking();

}  // namespace evictlab::core
