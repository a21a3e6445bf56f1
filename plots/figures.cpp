#include "plots/figures.hpp"

#include <iterator>

namespace evictlab::plots {

std::vector<Figure> all_figures(const ResultTables& tables) {
  std::vector<Figure> figures;
  const auto add = [&figures](const std::optional<results::Table>& table, auto make) {
    if (!table) return;
    std::vector<Figure> made = make(*table);
    std::move(made.begin(), made.end(), std::back_inserter(figures));
  };
  add(tables.replay, loss_figures);
  add(tables.replay, bound_figures);
  add(tables.spans, needle_figures);
  add(tables.budgets, budget_figures);
  add(tables.positions, position_figures);
  add(tables.kept_overlap, kept_overlap_figures);
  add(tables.tasks, layer_figures);
  add(tables.attention, attention_figures);
  add(tables.concentration, concentration_figures);
  add(tables.overlap, overlap_figures);
  add(tables.future, future_figures);
  add(tables.maps, picture_figures);
  add(tables.scorers, scorer_figures);
  add(tables.differences, difference_figures);
  add(tables.outcomes, outcome_figures);
  add(tables.calibration, calibration_figures);
  add(tables.predictions, prediction_figures);
  add(tables.needles, needle_accuracy_figures);
  return figures;
}

}  // namespace evictlab::plots
