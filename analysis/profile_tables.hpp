#pragma once

#include <functional>

#include "analysis/layer_profile.hpp"
#include "analysis/table.hpp"
#include "trace/model.hpp"

namespace evictlab::analysis {

/// How layers and heads attend, as tables; docs/analyses.md says what each column is.
struct ProfileTables {
  Table attention;      // a row per prompt, layer, query head
  Table layers;         // per prompt, layer
  Table concentration;  // per prompt, layer, query head, fraction of positions
  Table overlap;        // per prompt and pair of layers
  Table future;         // per prompt, layer, future query; only of prompts recorded in the full tier
  Table maps;           // per layer, query bin and depth bin, of the first prompt of every task
};

/// Fractions of the visible positions that concentration tells the mass on.
inline constexpr std::array<double, 7> kFractions = {0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5};

/// Cells of a layer's picture in maps: rows of the window, parts of the prompt.
inline constexpr trace::Index kMapQueries = 16;
inline constexpr trace::Index kMapBins = 64;

/// Of every recorded layer and prompt. Layers are worked on in parallel, rows come in order: the result does not depend
/// on threads. `progress` is called with layers done and to do. What a prompt was not recorded with gives empty cells.
/// Throws core::Interrupted.
ProfileTables profile_tables(const trace::Source& source, const LayerOptions& options = {},
                             const std::function<void(double done, double total)>& progress = nullptr);

/// Means over prompts with bootstrap intervals, per task and over all prompts: task, table, quantity, layer, mean, low,
/// high, prompts. Of every column of `layers` and, averaged over the heads, of `attention`.
Table task_table(const Table& layers, const Table& attention);

}  // namespace evictlab::analysis
