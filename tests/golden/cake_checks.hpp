#pragma once

#include <string>
#include <vector>

#include "golden_file.hpp"
#include "sim/policy/policy.hpp"
#include "sim/policy/types.hpp"

// What the cake family's files hold beyond kept positions and budgets.

namespace evictlab::golden {

/// A layer at some point of the prefill.
struct LayerState {
  std::vector<Index> stored;   // [sets]: positions, repeated ones counted
  std::vector<Index> budgets;  // [sets]: as recorded, protected positions included
  Index protected_count = 0;
};
LayerState state_of(const sim::LayerRetention& layer, Index protected_count);

/// stored_tokens, cascade_budgets and intermediate_budgets against states[after layer m][layer l].
std::string compare_history(const trace::hdf5::File& file, const Case& golden,
                            const std::vector<std::vector<LayerState>>& states);
/// CAKE's layer preference, to 1e-4 relative.
std::string compare_preference(const trace::hdf5::File& file, const Case& golden,
                               const std::vector<trace::LayerView>& views);
/// decode_evicted and decode_kept.
std::string compare_decoding(const trace::hdf5::File& file, const Case& golden, const sim::Policy& policy,
                             const sim::Retention& retention, const std::vector<trace::LayerView>& views);

}  // namespace evictlab::golden
