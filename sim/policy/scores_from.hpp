#pragma once

#include <string_view>

#include "sim/policy/types.hpp"

namespace evictlab::sim {

/// What an engine must compute for a scorer: each includes those before.
enum class ScoresFrom { kKeys, kWindow, kAll };
/// "keys", "window", "all".
std::string_view scores_from_name(ScoresFrom from);
/// Keys, values and positions alone; attention of the last queries; attention of every query, or another pass.
ScoresFrom scores_from(const Needs& needs);

}  // namespace evictlab::sim
