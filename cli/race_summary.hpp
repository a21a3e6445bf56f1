#pragma once

#include <string>

#include "lab/race.hpp"

namespace evictlab::cli {

/// race.csv for people: who is left at each budget, what decided it, and how many live runs it took.
std::string race_summary(const lab::RaceOutcome& outcome);

}  // namespace evictlab::cli
