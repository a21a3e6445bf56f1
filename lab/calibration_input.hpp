#pragma once

#include <filesystem>
#include <optional>

#include "lab/observer.hpp"
#include "results/prediction.hpp"
#include "results/table.hpp"
#include "trace/model.hpp"

namespace evictlab::lab {

/// The calibration of a file, for traces of this model; none without a file. Throws core::InputError when the file is
/// no calibration, or one of another model whose measure has a unit.
std::optional<results::KlPredictor> read_predictor(const std::optional<std::filesystem::path>& file,
                                                   const trace::ModelInfo& model);

/// Throws core::InputError when the calibration maps a measure of the full tier and these are left out.
void require_mapped_measure(const std::optional<results::KlPredictor>& predictor, bool full_measures);

/// Says that nothing was foretold, where that is so though there is a calibration: the trace lacks what it maps.
void report_unforetold(const results::Table& replay, const std::optional<results::KlPredictor>& predictor,
                       Observer& observer);

/// The address, for who need not have one; null where there is none.
inline const results::KlPredictor* pointer_to(const std::optional<results::KlPredictor>& predictor) {
  return predictor ? &*predictor : nullptr;
}

}  // namespace evictlab::lab
