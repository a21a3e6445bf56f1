#include "lab/calibration_input.hpp"

#include <fmt/format.h>

#include "core/error.hpp"
#include "results/calibration_file.hpp"
#include "results/foretell.hpp"

namespace evictlab::lab {

std::optional<results::KlPredictor> read_predictor(const std::optional<std::filesystem::path>& file,
                                                   const trace::ModelInfo& model) {
  if (!file) return std::nullopt;
  results::KlCalibration calibration = results::parse_calibration(core::JsonDocument::read(*file));
  try {
    return results::KlPredictor(std::move(calibration), model.fingerprint);
  } catch (const core::InputError& error) {
    throw core::InputError("{}: {}", file->string(), error.what());
  }
}

void require_mapped_measure(const std::optional<results::KlPredictor>& predictor, bool full_measures) {
  if (!predictor || full_measures) return;
  const results::MeasureInfo& mapped = results::info(predictor->calibration().learned.measure);
  if (mapped.tier == results::MeasureTier::kSummary) return;
  throw core::InputError("--measures summary leaves out {}, which the calibration maps to KL; give --measures all",
                         mapped.column);
}

void report_unforetold(const results::Table& replay, const std::optional<results::KlPredictor>& predictor,
                       Observer& observer) {
  if (!predictor || results::is_foretold(replay)) return;
  const results::MeasureInfo& mapped = results::info(predictor->calibration().learned.measure);
  observer.message(
      Topic::kNote,
      fmt::format("no KL is foretold: the calibration maps {}, which no run has; it takes a recording of every layer "
                  "with --tier full{}",
                  mapped.column, mapped.tier == results::MeasureTier::kGradients ? " --gradients" : ""));
}

}  // namespace evictlab::lab
