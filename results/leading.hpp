#pragma once

#include <string>
#include <vector>

#include "results/measures.hpp"
#include "results/run_table.hpp"

namespace evictlab::results {

/// What answers lead with: of predicted KL, squared error and retained mass the first that every run has which could
/// run; retained mass where none is there.
Measure leading_measure(const std::vector<Run>& runs);

/// One sentence on how far the measure is to be trusted, and how to come by a better one; empty for predicted KL.
std::string leading_note(Measure measure);

/// Says how many of replay.csv's predictions lie outside of what the calibration covers, that they rest on another
/// model, or that they have no interval; empty where none of it is so.
std::string extrapolation_note(const Table& replay);

}  // namespace evictlab::results
