#pragma once

#include <string>

#include "results/calibration.hpp"

namespace evictlab::cli {

/// outcomes.csv for people: a table per budget, over all prompts' first turn, best first.
std::string validate_summary(const results::Table& outcomes);

/// calibration.csv for people: which measure foresees best, how well, and what can be expected at most.
std::string calibration_summary(const results::Calibration& calibration);

}  // namespace evictlab::cli
