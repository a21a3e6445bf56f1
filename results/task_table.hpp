#pragma once

#include "results/table.hpp"

namespace evictlab::results {

/// Means over prompts with bootstrap intervals, per task and over all prompts: task, table, quantity, layer, mean, low,
/// high, prompts. Of every column of `layers` and, averaged over the heads, of `attention`.
Table task_table(const Table& layers, const Table& attention);

}  // namespace evictlab::results
