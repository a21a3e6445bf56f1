#pragma once

#include <string>
#include <vector>

#include "results/table.hpp"

namespace evictlab::cli {

/// Every row's policy: "snapkv", and where the same one is there with other parameters what tells them apart,
/// "snapkv(window=16)". Of a table with the columns policy and parameters.
std::vector<std::string> policy_labels(const results::Table& table);

}  // namespace evictlab::cli
