#include "plots/figures.hpp"

#include <iterator>

namespace evictlab::plots {

std::vector<Figure> all_figures(const ResultTables& tables) {
  std::vector<Figure> figures;
  const auto add = [&figures](const std::optional<analysis::Table>& table, auto make) {
    if (!table) return;
    std::vector<Figure> made = make(*table);
    std::move(made.begin(), made.end(), std::back_inserter(figures));
  };
  add(tables.replay, loss_figures);
  add(tables.attention, attention_figures);
  add(tables.budgets, budget_figures);
  add(tables.positions, position_figures);
  return figures;
}

}  // namespace evictlab::plots
