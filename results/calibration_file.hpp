#pragma once

#include <string>

#include "core/json.hpp"
#include "results/prediction.hpp"

// calibration.json: what a calibration has learned, for other traces of the same model.

namespace evictlab::results {

inline constexpr int kCalibrationVersion = 1;

/// The text of the file.
std::string calibration_json(const KlCalibration& calibration);

/// Reads it. Throws the document's error, naming the key, where one is missing, of another type or out of range, and
/// for files of another format or a newer version.
KlCalibration parse_calibration(const core::JsonDocument& document);

}  // namespace evictlab::results
