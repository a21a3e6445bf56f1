#pragma once

#include <map>
#include <string>

#include "results/prediction.hpp"
#include "results/table.hpp"

// Foretells the KL divergence of runs whose table was written without a calibration.

namespace evictlab::results {

/// replay.csv with predicted_kl, its ends and `calibration` of the rows over all layers, where the run has the measure
/// that the calibration maps. `prompt_lengths`: positions by prompt; rows of other prompts stay as they are. A table
/// without these columns is returned unchanged. Throws TableError when it is no run table.
Table foretold(const Table& replay, const KlPredictor& predictor, const std::map<std::string, double>& prompt_lengths);

/// Whether any row has a divergence foretold.
bool is_foretold(const Table& replay);

}  // namespace evictlab::results
