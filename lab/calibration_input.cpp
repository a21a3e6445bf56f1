#include "lab/calibration_input.hpp"

#include "core/error.hpp"
#include "results/calibration_file.hpp"

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

}  // namespace evictlab::lab
