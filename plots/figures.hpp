#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "plots/gnuplot.hpp"
#include "results/table.hpp"

// The figures, each drawn from one result table alone; figures.def lists them.

namespace evictlab::plots {

#define FIGURE(section, table, function) std::vector<Figure> function(const results::Table& table);
#include "plots/figures.def"
#undef FIGURE

/// The tables of a result directory by name: "replay" is replay.csv.
using ResultTables = std::map<std::string, results::Table, std::less<>>;

/// The table of that name; null where the directory has none.
const results::Table* find_table(const ResultTables& tables, std::string_view name);

/// The names of the tables that figures are drawn from.
const std::vector<std::string>& figure_tables();

/// Draws every figure whose table is there, in the order of figures.def. Figures that would have too many panels are
/// left out, with the reason in `left_out`; without it they are a PlotError.
std::vector<Figure> all_figures(const ResultTables& tables, std::vector<std::string>* left_out = nullptr);

}  // namespace evictlab::plots
