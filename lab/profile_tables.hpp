#pragma once

#include <array>
#include <functional>

#include "analysis/layer_profile.hpp"
#include "results/table.hpp"
#include "trace/model.hpp"

namespace evictlab::lab {

/// How layers and heads attend, as tables; docs/results.md lists the columns.
struct ProfileTables {
  results::Table attention;      // a row per prompt, layer, query head
  results::Table layers;         // per prompt, layer
  results::Table concentration;  // per prompt, layer, query head, fraction of positions
  results::Table overlap;        // per prompt and pair of layers
  results::Table future;         // per prompt, layer, future query; only of prompts recorded in the full tier
  results::Table maps;           // per layer, query bin and depth bin, of the first prompt of every task
};

/// Fractions of the visible positions whose share of the mass `concentration` holds.
inline constexpr std::array<double, 7> kFractions = {0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5};

/// Cells of a layer's picture in maps: rows of the window, parts of the prompt.
inline constexpr trace::Index kMapQueries = 16;
inline constexpr trace::Index kMapBins = 64;

/// Of every recorded layer and prompt. Layers are worked on in parallel, rows come in order: the result does not depend
/// on threads. `progress` is called with layers done and to do. What a prompt was not recorded with gives empty cells.
/// Throws core::Interrupted.
ProfileTables profile_tables(const trace::Source& source, const analysis::LayerOptions& options = {},
                             const std::function<void(double done, double total)>& progress = nullptr);

}  // namespace evictlab::lab
