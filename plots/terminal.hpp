#pragma once

#include <string>

#include "plots/figures.hpp"

namespace evictlab::plots {

/// The main curves as text for a terminal of so many columns: from replay.csv the attention mass lost by budget, a
/// letter per policy; from tasks.csv what CAKE and DynamicKV would give each layer. Empty when neither table is there
/// or holds anything. Throws results::TableError as the figures do.
std::string terminal_plots(const ResultTables& tables, int columns);

}  // namespace evictlab::plots
