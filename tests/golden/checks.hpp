#pragma once

#include <string>

#include "golden_file.hpp"

namespace evictlab::golden {

/// Runs a case's policy on the inputs and compares all that the golden holds. Empty when everything agrees, else the
/// first difference.
std::string check_case(const trace::hdf5::File& file, const Inputs& inputs, const Case& golden);

/// The vectors of CAKE's integer budget adjustment: raw [k, 40], num, total, cap [k] → out [k, 40].
std::string check_adjust_budgets(const trace::hdf5::File& file);

}  // namespace evictlab::golden
