#pragma once

#include <string>

#include "lab/sensitivity.hpp"

namespace evictlab::cli {

/// For people: what evicting in each layer costs, beside what published rules give it, and how well both agree.
std::string sensitivity_summary(const lab::SensitivityTables& tables);

}  // namespace evictlab::cli
