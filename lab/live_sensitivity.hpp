#pragma once

#include <filesystem>
#include <vector>

#include "lab/sensitivity.hpp"
#include "lab/validate.hpp"

namespace evictlab::lab {

struct LiveSensitivityOptions {
  /// Model, prompts, policies, the counts (`budgets`), window and data type, where the tables go. The answers are read,
  /// never written; there is no replay table to compare with.
  ValidateOptions run = {};
  bool heads = false;  // each kv head too, beside each layer
};

struct LiveSensitivityOutcome {
  SensitivityTables tables;                  // of the first rank; empty in the others
  std::vector<std::filesystem::path> files;  // written, sensitivity.csv first
};

/// Runs the model once per layer, and per kv head, with only that one evicted, and replays the same prompts. Resumes an
/// interrupted run. Throws core::InputError, core::Interrupted.
LiveSensitivityOutcome live_sensitivity(const LiveSensitivityOptions& options, Observer& observer);

}  // namespace evictlab::lab
