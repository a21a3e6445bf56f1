#pragma once

#include <cstdint>

#include "sim/policy/parameters.hpp"
#include "sim/policy/types.hpp"

// Parameters that mean the same wherever they are: declared and read here alone.

namespace evictlab::sim {

using trace::kMaxPositions;

/// "sinks": first positions kept in any case.
Parameter sinks_parameter(std::int64_t sinks = 0);
/// "sinks" and "window": what is protected.
ParameterList protection_parameters(std::int64_t sinks, std::int64_t window);
Protection protection_from(const Parameters& parameters);

/// "window": the last queries that vote, as far as a scorer needs: at least `minimum`.
Parameter voting_window_parameter(std::int64_t window, std::int64_t minimum = 1);

/// "axis": kv (default) or query.
Parameter axis_parameter();
Granularity granularity_from(const Parameters& parameters);

/// "decode": whether a policy also evicts while the answer is generated.
Parameter decode_parameter();

/// "exact": whether an allocator follows its paper's arithmetic where the authors' code differs.
Parameter exact_parameter();

/// A choice of yes and no.
Parameter yes_no_parameter(std::string name, bool default_value, std::string help);
bool is_yes(const Parameters& parameters, std::string_view name);

/// The parameters of the scorer "window" and of "sinks": those of SnapKV and of what builds on it. `defaults` where
/// they differ from AdaKV's.
ParameterList window_voting_parameters(const KeyValues& defaults = {});
/// What kvpress' defaults of these are: window 64, average pooling over 5 before the reduction.
KeyValues kvpress_scoring();

}  // namespace evictlab::sim
