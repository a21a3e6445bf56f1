#include "results/leading.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "results/prediction.hpp"

namespace evictlab::results {

Measure leading_measure(const std::vector<Run>& runs) {
  for (const Measure measure : {Measure::kPredictedKl, Measure::kSquaredError}) {
    bool any = false;
    const bool every = std::ranges::all_of(runs, [&](const Run& run) {
      any = any || run.feasible();
      return !run.feasible() || run[measure].has_value();
    });
    if (any && every) return measure;
  }
  return Measure::kRetainedMass;
}

std::string leading_note(Measure measure) {
  if (measure == Measure::kPredictedKl) return {};
  const std::string learn =
      "evictlab validate on this model writes calibration.json, with which --calibration foretells KL";
  if (measure == Measure::kSquaredError) return "Squared error orders policies and says nothing of KL: " + learn + ".";
  return "Retained mass orders policies badly (tau-b .44 with live KL on SmolLM2, docs/prediction.md): record --tier "
         "full "
         "for squared error; " +
         learn + ".";
}

std::string extrapolation_note(const Table& replay) {
  const auto column = replay.find_column("calibration");
  if (!column) return {};
  std::size_t foretold = 0;
  std::size_t extrapolated = 0;
  std::size_t by_default = 0;
  std::size_t without_interval = 0;
  const auto low = replay.find_column("predicted_kl_low");
  for (std::size_t row = 0; row < replay.rows(); ++row) {
    const std::string text = replay.text(row, *column);
    foretold += text.empty() ? 0 : 1;
    extrapolated += text == calibrated_name(Calibrated::kExtrapolated) ? 1 : 0;
    by_default += text == calibrated_name(Calibrated::kDefault) ? 1 : 0;
    without_interval += !text.empty() && low && !replay.number(row, *low) ? 1 : 0;
  }
  if (by_default > 0) {
    return "The calibration is of another model: its KL is an order of magnitude (column calibration: default), and "
           "only "
           "means over prompts may have an interval.";
  }
  std::string note;
  if (extrapolated > 0) {
    note = fmt::format(
        "Of {} predictions, {} are extrapolations: of lengths, budgets or policies that the calibration does not cover "
        "(column calibration){}.",
        foretold, extrapolated, without_interval > 0 ? "" : "; their intervals hold less often");
  }
  if (without_interval > 0) {
    note += fmt::format("{}Predictions have no interval: the calibration rests on fewer than nine documents.",
                        note.empty() ? "" : " ");
  }
  return note;
}

}  // namespace evictlab::results
