#include "results/leading.hpp"

#include <algorithm>

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
  return "Retained mass orders policies badly (tau-b .38 with live KL on SmolLM2, docs/prediction.md): record --tier "
         "full "
         "for squared error; " +
         learn + ".";
}

}  // namespace evictlab::results
