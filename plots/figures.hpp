#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "analysis/table.hpp"
#include "plots/gnuplot.hpp"

// The figures, each from one result table alone. All throw analysis::TableError for a column that is missing
// or not numeric. None draws from nothing: a table without usable rows gives no figure.

namespace evictlab::plots {

/// From replay.csv: attention mass lost and, where measured, relative output loss against the slots held;
/// means over prompts with 95 % bootstrap intervals, the range between random and oracle shaded. First over all
/// prompts ("loss"), then, when there are several tasks, per task ("loss_by_task_mass", "loss_by_task_output").
/// A point is drawn only if the policy could be measured on every prompt of the panel at that budget.
std::vector<Figure> loss_figures(const analysis::Table& replay);

/// From attention.csv: layer x head maps of normalized entropy, sink mass and recent mass, averaged over prompts
/// ("attention"), and of the entropy per task when there are several ("attention_by_task").
std::vector<Figure> attention_figures(const analysis::Table& attention);

/// From budgets.csv: each layer's share of the budget, relative to an even split, per policy ("layer_budgets").
std::vector<Figure> budget_figures(const analysis::Table& budgets);

/// From positions.csv: where in the prompt each layer's kept positions lie, one map per policy, at one of the
/// budgets ("kept_positions").
std::vector<Figure> position_figures(const analysis::Table& positions);

/// The tables of a result directory that figures are drawn from.
struct ResultTables {
  std::optional<analysis::Table> replay;
  std::optional<analysis::Table> budgets;
  std::optional<analysis::Table> positions;
  std::optional<analysis::Table> attention;
};
std::vector<Figure> all_figures(const ResultTables& tables);

}  // namespace evictlab::plots
