#pragma once

#include <string>
#include <vector>

#include "cake_checks.hpp"

namespace evictlab::golden {

/// LAVa's stored_tokens [L, L, G], cascade_budgets [L, L] and preference [L] (to 1e-4 relative); `states` as for
/// compare_history.
std::string compare_entropy_cascade(const trace::hdf5::File& file, const Case& golden, const sim::Policy& policy,
                                    double slots, const std::vector<trace::LayerView>& views,
                                    const std::vector<std::vector<LayerState>>& states);

}  // namespace evictlab::golden
