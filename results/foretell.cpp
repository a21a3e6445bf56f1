#include "results/foretell.hpp"

#include <optional>
#include <string_view>
#include <vector>

#include "results/run_table.hpp"

namespace evictlab::results {

Table foretold(const Table& replay, const KlPredictor& predictor, const std::map<std::string, double>& prompt_lengths) {
  for (const std::string_view column : {"predicted_kl", "predicted_kl_low", "predicted_kl_high", "calibration"}) {
    if (!replay.find_column(column)) return replay;
  }
  const auto future = replay.find_column("T");
  std::map<std::size_t, PredictedKl> by_row;
  for (const Run& run : runs_over_layers(replay)) {
    const auto length = prompt_lengths.find(run.prompt);
    if (!run.feasible() || !run.slots_held || length == prompt_lengths.end()) continue;
    const auto predicted = predictor({.policy = run.key.policy,
                                      .parameters = run.key.parameters,
                                      .prompt_length = length->second,
                                      .future_length = future ? replay.number(run.row, *future).value_or(0.0) : 0.0,
                                      .slots = *run.slots_held,
                                      .measures = run.measures});
    if (predicted) by_row.emplace(run.row, *predicted);
  }
  Table table(replay.columns());
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    std::vector<Cell> cells = replay.row(row);
    if (const auto found = by_row.find(row); found != by_row.end()) {
      const PredictedKl& predicted = found->second;
      cells[replay.column("predicted_kl")] = predicted.kl;
      cells[replay.column("predicted_kl_low")] = cell_of(predicted.low);
      cells[replay.column("predicted_kl_high")] = cell_of(predicted.high);
      cells[replay.column("calibration")] = cell_of(calibrated_name(predicted.calibrated));
    }
    table.add_row(std::move(cells));
  }
  return table;
}

bool is_foretold(const Table& replay) {
  const auto column = replay.find_column("predicted_kl");
  if (!column) return false;
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    if (replay.number(row, *column)) return true;
  }
  return false;
}

}  // namespace evictlab::results
